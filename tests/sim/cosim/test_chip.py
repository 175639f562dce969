"""The files of a simulated chip; faults, loading and cancellation on it.

The latter run inside the simulator (cocotb_chip.py).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import sim.cosim.chip
from hdl.array.ternary_array import TernaryArray
from hdl.fabric.technology import Technology
from hdl.toolchain.emit import TOP
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.folder import VERILOG_NAME
from mmfree.chip.image import Image
from mmfree.chip.layout import LayoutError, layout
from mmfree.chip.memory_map import chip_memories
from mmfree.chip.sizing import design_for, design_for_memory
from mmfree.tape.reading import AnyTape
from sim.cosim.chip import write_chip
from sim.cosim.run_folder import Models, Run, Traffic, read_tapes, write_run
from sim.simulators.runner import build, run
from tests.support.hdl.streams import PACES, Pace
from tests.support.sim.shapes import (
    ABSMAX_ODD,
    ABSMAX_SLOW_SHAPES,
    ADDITION,
    ODD,
    SLOW_SHAPES,
    TINY,
    Shape,
)
from tools.experiments.multiplying_array import MultiplyingArray, Unit

FEW = {
    "weights": 60,
    "headers": 10,
    "embedding": 5,
    "biases": 5,
    "tables": 15,
    "reciprocal_root": 5,
}
SOME = {"weights": 9, "headers": 2, "tables": 4}
MANY = {
    "weights": 1000,
    "headers": 50,
    "embedding": 30,
    "biases": 30,
    "tables": 60,
    "reciprocal_root": 30,
}
"""200 faults in tables and parameters."""

ABSMAX_FAULTS = {"weights": 6, "headers": 1, "embedding": 1, "tables": 1}
"""Gains and lower bounds come with the weights."""

UNDISTURBED = Traffic()


def play(
    shape: Shape,
    code: str,
    faults: dict[str, int],
    folder: Path,
    traffic: Traffic = UNDISTURBED,
) -> dict[str, int]:
    """Run the cocotb tests; returns the faults that were found."""
    tape = shape.tape(1, wild=False)
    return play_on(tape, design_for(tape, shape.lanes, code), faults, folder, traffic)


def play_on(
    tape: AnyTape, design: Design, faults: dict[str, int], folder: Path, traffic: Traffic
) -> dict[str, int]:
    """As ``play``, of a design and its tape."""
    write_chip(folder, [tape], design)
    write_run(folder, Run(design=design, sequences=[], traffic=traffic))
    (folder / "faults.json").write_text(json.dumps({"seed": 1, "faults": faults}))
    run(build([folder / VERILOG_NAME], TOP), "tests.support.sim.cocotb_chip", folder)
    found: dict[str, int] = json.loads((folder / "found.json").read_text())
    return found


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is converted to Verilog, without doing it."""
    calls: list[dict[str, Any]] = []

    def accelerator(design: Design, image: Image | None = None, **options: Any) -> dict[str, Any]:
        return {"design": design, "image": image, **options}

    def rtlil(made: dict[str, Any], technology: Technology = Technology.GENERIC) -> str:
        calls.append(made | {"technology": technology})
        return "RTLIL"

    def verilog(text: str, memories: Collection[str]) -> str:
        calls[-1] |= {"text": text, "memories": tuple(memories)}
        return "VERILOG "

    unkept = sim.cosim.chip.generic_verilog.__wrapped__
    monkeypatch.setattr(sim.cosim.chip, "generic_verilog", unkept)
    monkeypatch.setattr(sim.cosim.chip, "Accelerator", accelerator)
    monkeypatch.setattr(sim.cosim.chip, "convert_rtlil", rtlil)
    monkeypatch.setattr(sim.cosim.chip, "convert_verilog", verilog)
    return calls


def memory_files(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in folder.glob("*.hex")}


def test_a_chip_is_its_verilog_its_memories_and_the_tapes(
    converted: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The first tape is in the memories, or none is where all are loaded."""
    tapes, design = [ODD.tape(seed, wild=False) for seed in (1, 2)], ODD.design()
    write_chip(tmp_path, tapes, design)
    assert memory_files(tmp_path) == layout(tapes[0], design).memory_files()
    assert (tmp_path / VERILOG_NAME).read_text() == "VERILOG "
    assert [tape.sha256 for tape in read_tapes(tmp_path)] == [tape.sha256 for tape in tapes]
    assert converted[-1]["technology"] is Technology.GENERIC
    assert converted[-1]["memories"] == chip_memories(design)
    assert converted[-1]["text"] == "RTLIL"
    assert converted[-1]["design"] == design
    assert converted[-1]["image"] is None, "its words come from files"
    before = memory_files(tmp_path)
    write_chip(tmp_path, tapes, design, loaded=True)
    empty = memory_files(tmp_path)
    assert empty.keys() == before.keys()
    assert {word for text in empty.values() for word in text.split()} == {"0"}
    assert {n: t.count("\n") for n, t in empty.items()} == {
        n: t.count("\n") for n, t in before.items()
    }


def test_images_of_an_external_memory_lie_beside_the_chip(
    converted: list[dict[str, Any]], tmp_path: Path
) -> None:
    """One for each tape; what the chip itself holds is in its memory files."""
    tapes = [ODD.tape(seed, wild=False) for seed in (1, 2)]
    design = design_for_memory(ODD.config, ExternalMemory(port_bits=64, ports=1))
    write_chip(tmp_path, tapes, design)
    images = Models(tmp_path).images(design)
    assert [image.path.name for image in images] == ["memory0.bin", "memory1.bin"]
    assert [image.tape_sha256 for image in images] == [tape.sha256 for tape in tapes]
    assert memory_files(tmp_path) == layout(tapes[0], design).memory_files()
    assert "weights_0" not in memory_files(tmp_path)
    assert converted[-1]["memories"] == chip_memories(design)
    write_chip(tmp_path, tapes, design, technology=Technology.ECP5)
    assert set(converted[-1]["memories"]) <= set(chip_memories(design))


@pytest.mark.parametrize(
    ("shape", "changes", "files"),
    [
        # Of the ECP5, memories of at most 64 words are in LUTs, and read a file; deeper ones are
        # block RAM, and hold their words themselves: here 265 words of weights, and 6, 35 and 20.
        (ODD, {}, ["headers", "embedding", "biases"]),
        (ODD, {"embedding_rows": 12}, ["headers", "embedding", "biases"]),
        (ODD, {"embedding_rows": 13}, ["headers", "biases"]),
        (TINY, {"weight_words": 64}, ["headers", "embedding", "biases", "weights_0"]),
        (TINY, {"weight_words": 65}, ["headers", "embedding", "biases"]),
    ],
    ids=["odd", "60 words", "65 words", "64 weights", "65 weights"],
)
def test_memories_in_the_cells_of_the_ecp5_read_a_file_only_in_luts(
    shape: Shape,
    changes: dict[str, int],
    files: list[str],
    converted: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    tape, design = shape.tape(1, wild=False), replace(shape.design(), **changes)
    write_chip(tmp_path, [tape], design, technology=Technology.ECP5)
    assert list(converted[-1]["memories"]) == files
    assert converted[-1]["technology"] is Technology.ECP5
    verilog = (tmp_path / VERILOG_NAME).read_text()
    assert verilog.startswith("VERILOG ")
    assert "module CCU2C" in verilog, "the models of the cells"
    assert converted[-1]["image"].words == layout(tape, design).words
    write_chip(tmp_path, [tape], design, technology=Technology.ECP5, loaded=True)
    assert not any(map(any, converted[-1]["image"].words.values()))


def test_another_array_is_the_chips(converted: list[dict[str, Any]], tmp_path: Path) -> None:
    tape, design = ODD.tape(1, wild=False), ODD.design()
    array = partial(MultiplyingArray, unit=Unit.DSP)
    for technology in (Technology.GENERIC, Technology.ECP5):
        write_chip(tmp_path, [tape], design, technology=technology, array=array)
        assert converted[-1]["array"] is array
    write_chip(tmp_path, [tape], design)
    assert converted[-1]["array"] is TernaryArray


def test_a_tape_that_does_not_fit_is_refused_though_it_is_loaded_later(
    converted: list[dict[str, Any]], tmp_path: Path
) -> None:
    tapes = [ODD.tape(1, wild=False), ADDITION.tape(1, wild=False)]
    with pytest.raises(LayoutError, match="the tape needs max_width of 128"):
        write_chip(tmp_path, tapes, ODD.design())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "pace",
    [PACES[0], *(pytest.param(pace, marks=pytest.mark.slow) for pace in PACES[1:-1]), PACES[-1]],
    ids=str,
)
def test_faults_loading_and_cancellation(pace: Pace, tmp_path: Path) -> None:
    """With requests that come late or not, and answers that are taken late or not."""
    traffic = Traffic(idle=pace.idle, back_pressure=pace.back_pressure)
    faults = FEW if traffic == UNDISTURBED else SOME
    assert play(ODD, "2", faults, tmp_path, traffic) == faults


def test_faults_are_found_though_weights_come_slowly(tmp_path: Path) -> None:
    """A check word may then be the last that a token waits for."""
    assert play(ODD, "2", {"weights": 12}, tmp_path, Traffic(pause=0.95)) == {"weights": 12}


def test_faults_of_a_published_checkpoint(tmp_path: Path) -> None:
    """In tiles, gains, bounds and check words; in scales and elements of the embedding; in the
    segment table and the sigmoid.
    """
    (tmp_path / "chip").mkdir()
    tape, faults = ABSMAX_ODD.tape(tmp_path, 1), ABSMAX_FAULTS
    assert play_on(tape, ABSMAX_ODD.design(), faults, tmp_path / "chip", UNDISTURBED) == faults


@pytest.mark.long
def test_a_thousand_faults_of_a_published_checkpoint(tmp_path: Path) -> None:
    """With answers that are taken late."""
    shape = ABSMAX_SLOW_SHAPES[0]
    (tmp_path / "chip").mkdir()
    faults = {name: 110 * count for name, count in ABSMAX_FAULTS.items()}
    traffic = Traffic(back_pressure=0.5)
    found = play_on(shape.tape(tmp_path, 1), shape.design(), faults, tmp_path / "chip", traffic)
    assert found == faults


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "code"),
    [(ODD, "2"), (SLOW_SHAPES[0], "1.6"), (SLOW_SHAPES[-1], "1.67")],
    ids=["odd", "three layers", "token shift"],
)
def test_a_thousand_faults_are_found(shape: Shape, code: str, tmp_path: Path) -> None:
    assert play(shape, code, MANY, tmp_path) == MANY
