"""The waveform that was asked for is kept: of a good run, of a difference, of a failure."""

from __future__ import annotations

import shutil
from collections.abc import Sequence as Items
from dataclasses import replace
from pathlib import Path

import pytest

import sim.cosim.chip
import sim.cosim.job
import sim.cosim.run
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape
from sim.cosim.run import CosimResult, Recording, cosim
from sim.cosim.run_folder import Sequence
from sim.simulators.icarus import WAVEFORM_NAME
from sim.simulators.runner import SimulationFailed
from tests.support.sim.shapes import ODD

TAPE, DESIGN = ODD.tape(1, wild=False), ODD.design()
ASKED = [Sequence(prompt=[1, 2]), Sequence(prompt=[3], generate=2)]
CYCLE = 10_000
"""Picoseconds, the unit of the VCD."""


def record(
    path: Path, sequences: Items[Sequence] = ASKED, simulator: str = "verilator"
) -> tuple[CosimResult, Recording]:
    result = cosim([TAPE], DESIGN, sequences, waveform=path, simulator=simulator)
    assert result.recording is not None
    assert result.recording.path == path
    assert result.recording.num_bytes == path.stat().st_size
    assert path.read_text().startswith("$")
    return result, result.recording


def cycles_of(path: Path) -> float:
    """Cycles that a VCD shows."""
    lines = path.read_text().splitlines()
    return max(int(line[1:]) for line in lines if line.startswith("#")) / CYCLE


@pytest.mark.parametrize("simulator", ["verilator", pytest.param("icarus", marks=pytest.mark.slow)])
def test_a_good_run_is_recorded_whole(simulator: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "wave.vcd"
    result, recording = record(path, simulator=simulator)
    assert result.bit_exact, result.divergence
    assert recording.shows == "all 4 tokens"
    assert cycles_of(path) > 4 * result.cycles_per_token
    assert [entry.name for entry in path.parent.iterdir()] == ["wave.vcd"]


@pytest.mark.parametrize("simulator", ["verilator", pytest.param("icarus", marks=pytest.mark.slow)])
def test_a_long_run_is_recorded_until_the_limit(
    simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is that of the whole run."""
    monkeypatch.setattr(sim.cosim.run, "WAVEFORM_BYTES", 1)
    path = tmp_path / "wave.vcd"
    result, recording = record(path, simulator=simulator)
    assert result.bit_exact, result.divergence
    assert result.tokens == 4
    assert recording.shows == "the first 1 of 4 tokens"
    assert 0 < cycles_of(path) < 2 * result.cycles_per_token


def faulty(tape: Tape, design: Design) -> Image:
    """Wrong biases, whose parity holds."""
    image = layout(tape, design)
    biases = [word ^ 0b11 << 5 for word in image.words["biases"]]
    return replace(image, words=image.words | {"biases": biases})


def withheld(tape: Tape, design: Design) -> Image:
    """A wrong bit in the embedding of token 2."""
    image = layout(tape, design)
    image.words["embedding"][2] ^= 1
    return image


def test_of_a_difference_the_token_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sim.cosim.chip, "layout", faulty)
    result, recording = record(tmp_path / "wave.vcd")
    assert result.divergence is not None
    assert result.divergence["segment"] == "layer 0 gates"
    assert recording.shows == "sequence 0, position 0, played alone"


def test_of_a_fault_the_token_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.cosim.chip, "layout", withheld)
    result, recording = record(tmp_path / "wave.vcd")
    assert result.divergence is not None
    assert result.divergence["fault"] == "embedding"
    assert recording.shows == "sequence 0, position 1, played alone"


def test_a_run_that_fails_is_recorded_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chip that hangs; another program stands for the simulator."""

    def hang(model: object, module: str, folder: Path) -> None:
        (folder / WAVEFORM_NAME).write_text("$date")
        raise SimulationFailed("the chip gave no answer")

    monkeypatch.setattr(sim.cosim.job, "build", lambda *arguments, **named: None)
    monkeypatch.setattr(sim.cosim.run, "write_chip", lambda *arguments, **named: None)
    monkeypatch.setattr(sim.cosim.job, "run", hang)
    path = tmp_path / "wave.vcd"
    with pytest.raises(SimulationFailed, match=r"no answer; .*wave\.vcd shows the run until it"):
        cosim([TAPE], DESIGN, ASKED, waveform=path)
    assert path.read_text() == "$date"


def test_a_waveform_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="no space left"):
        cosim([TAPE], DESIGN, ASKED, waveform=tmp_path / "wave.vcd")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="a folder; --waveform needs the name of a file"):
        cosim([TAPE], DESIGN, ASKED, waveform=tmp_path)
