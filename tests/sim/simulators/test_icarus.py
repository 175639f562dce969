"""Icarus Verilog: the block tests, and a small whole model compared as with Verilator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from cocotb_tools.runner import Icarus

import sim.simulators.icarus
from hdl.fabric.technology import Technology
from hdl.toolchain.emit import convert_verilog
from hdl.toolchain.yosys import run_yosys
from mmfree.chip.image import constant_words
from mmfree.chip.memory_map import LoadedShape
from mmfree.errors import ToolMissing
from sim.cosim.run import cosim
from sim.cosim.run_folder import Sequence, Traffic
from sim.simulators.icarus import ICARUS_ARGS, IcarusRunner, compile_for_icarus, find_icarus
from sim.simulators.runner import build, run
from tests.hdl.arithmetic import (
    test_argmax,
    test_noise,
    test_product,
    test_requantize,
    test_square,
)
from tests.hdl.arithmetic.test_gated_adder import CARRY_CELLS
from tests.hdl.array import test_decoder, test_row_blocks, test_ternary_array
from tests.hdl.memory import (
    test_block_source,
    test_embedding,
    test_loaded_memory,
    test_vectors,
    test_weight_check,
)
from tests.hdl.pow2 import (
    test_activations,
    test_forget_gate,
    test_gated_product,
    test_quantizer,
    test_rms_norm,
    test_update_state,
)
from tests.support.hdl import bench
from tests.support.sim.shapes import ODD


@pytest.mark.slow
def test_a_small_model_is_bit_exact_on_icarus() -> None:
    """Prompt, sampled text and traffic; the memories hold nothing before they are loaded."""
    tape = ODD.tape(2, wild=True)
    result = cosim(
        [tape],
        ODD.design(),
        [Sequence(prompt=[1, 2, 3]), Sequence(prompt=[4], generate=3, temperature=64, seed=3)],
        traffic=Traffic(idle=0.3, back_pressure=0.3, pause=0.1),
        simulator="icarus",
        loaded=True,
    )
    assert result.bit_exact, result.divergence
    assert result.tokens == 6


BLOCK_TESTS: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
    (test_activations.test_every_pass_gives_the_golden_vector, (7, 1, 0.5)),
    (test_argmax.test_argmax_vector, ()),
    (test_argmax.test_argmax, (2, 0.5)),
    (test_decoder.test_every_code_of_every_place, ("1.6", 6)),
    (test_embedding.test_rows_become_vectors, (3, 3, 2, 0.5)),
    (test_forget_gate.test_hard_gates, ("signed", 0.5)),
    (test_gated_product.test_gated_product, (0.5,)),
    (test_loaded_memory.test_words_are_written_and_read, (33, True, True)),
    (test_noise.test_numbers_do_not_depend_on_the_lanes, (5, 4)),
    (
        test_product.test_products_in_use_are_exact_at_corners_and_random_values,
        test_product.IN_USE[0],
    ),
    (test_quantizer.test_quantizer, (4, 0.5)),
    (test_requantize.test_requantize, (0.5,)),
    (test_rms_norm.test_scale_and_exponent, (8, 5, 0.5)),
    (test_row_blocks.test_values_leave_in_order_with_what_they_are, (8, 2, 0.5)),
    (test_square.test_every_square_is_exact, (0.5,)),
    (test_ternary_array.test_sums_are_exact, (8, 4, 0.5)),
    (test_update_state.test_update_state, (0.5,)),
    (test_vectors.test_groups_are_written_and_words_are_read, (8, 2, 1, 28, 0.5)),
    (test_weight_check.test_a_restart_drops_the_segment_in_progress, ()),
    (test_block_source.test_words_come_in_order_each_once_and_again_after_a_restart, (8,)),
]
"""Tests of blocks, and their arguments."""

ECP5_BLOCK_TESTS: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
    *(
        (test_product.test_products_in_use_are_exact_at_corners_and_random_values, case)
        for case in test_product.IN_USE
    ),
    (test_product.test_small_products_are_exact, (3, 5, 2, True, False)),
    (test_product.test_small_products_are_exact, (2, 7, 0, False, True)),
    (test_ternary_array.test_sums_are_exact, (4, 8, 0.5)),
    (test_ternary_array.test_sums_are_exact, (8, 4, 0.0)),
]
"""Of blocks that hold cells of the ECP5."""


def replay(
    recording: bench.Recording, folder: Path, technology: Technology = Technology.GENERIC
) -> None:
    """Play a recording on Icarus, on the body for a technology."""
    folder.mkdir()
    constants = {"reciprocal_root": LoadedShape(8, 256), "gumbel": LoadedShape(14, 2048)}
    text = str(rtlil.convert(recording.block, name="tested", platform=technology, emit_src=False))
    assert (r"cell \CCU2C " in text) == (technology is Technology.ECP5)
    memories = dict(recording.memories)
    for name, shape in constants.items():
        if re.search(rf"^  memory .* \\{name}$", text, re.MULTILINE):
            memories[name] = [shape.with_parity(word) for word in constant_words()[name]]
    for name, words in memories.items():
        (folder / f"{name}.hex").write_text("".join(f"{word:x}\n" for word in words))
    if technology is Technology.ECP5:
        (folder / "cells.il").write_text(text)
        commands = [f"read_verilog {CARRY_CELLS}", "read_rtlil cells.il", "hierarchy -top tested"]
        run_yosys([*commands, "proc", "flatten", "write_rtlil flat.il"], folder)
        text = (folder / "flat.il").read_text()
    (folder / "tested.v").write_text(convert_verilog(text, tuple(memories)))
    recorded = {"inputs": recording.inputs, "outputs": recording.outputs}
    (folder / "recording.json").write_text(json.dumps(recorded))
    model = build([folder / "tested.v"], "tested", simulator="icarus")
    run(model, "tests.support.sim.cocotb_replay", folder)


@pytest.mark.parametrize(
    ("test", "arguments"),
    BLOCK_TESTS,
    ids=[f"{test.__module__.rpartition('.')[2]}-{test.__name__}" for test, _ in BLOCK_TESTS],
)
def test_block_tests_give_the_same_on_icarus(
    test: Callable[..., None],
    arguments: tuple[Any, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A block test in Amaranth's simulator is recorded and played again on the block's Verilog."""
    monkeypatch.setattr(bench, "recordings", [])
    test(*arguments)
    assert bench.recordings
    for number, recording in enumerate(bench.recordings[:3]):
        replay(recording, tmp_path / str(number))


@pytest.mark.parametrize(("test", "arguments"), ECP5_BLOCK_TESTS)
def test_bodies_for_the_ecp5_give_the_same(
    test: Callable[..., None],
    arguments: tuple[Any, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The generic body's recording, on the carry cells as Yosys models them."""
    monkeypatch.setattr(bench, "recordings", [])
    test(*arguments)
    (recording,) = bench.recordings
    replay(recording, tmp_path / "ecp5", Technology.ECP5)


def test_a_missing_icarus_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sim.simulators.icarus.sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="Icarus Verilog was not found: install it"):
        find_icarus()


def test_the_icarus_of_this_python_goes_before_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system, own = tmp_path / "system", tmp_path / "own" / "bin"
    for folder in (system, own):
        folder.mkdir(parents=True)
        (folder / "iverilog").touch(mode=0o755)
    monkeypatch.setattr(sim.simulators.icarus.sys, "prefix", str(own.parent))
    monkeypatch.setenv("PATH", str(system))
    assert find_icarus() == own
    (own / "iverilog").unlink()
    assert find_icarus() == system


@pytest.mark.parametrize("traced", [False, True])
def test_what_icarus_is_told(traced: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second top module dumps the first, where a waveform is asked for."""
    told: dict[str, Any] = {}

    def run_tools(commands: Any, folder: Path, environment: Any, **named: Any) -> None:
        told.update(commands=commands, environment=environment, **named)

    monkeypatch.setattr(sim.simulators.icarus, "run_tools", run_tools)
    monkeypatch.setattr(sim.simulators.icarus, "find_icarus", lambda: Path("/a"))
    (tmp_path / "a.v").touch()
    folder = tmp_path / "build"
    folder.mkdir()
    compile_for_icarus([tmp_path / "a.v"], "top", folder, traced=traced)
    ((program, *words),) = told["commands"]
    tops = ["-s", "top", *(["-s", "mmfree_dump"] if traced else [])]
    names = ["../source0.v", *(["../dump.v"] if traced else [])]
    assert program == "/a/iverilog"
    assert words == ["-o", "sim.vvp", *tops, *ICARUS_ARGS, "-f", "../time.f", *names]
    assert (folder / "time.f").read_text() == "+timescale+1ns/1ps\n"
    assert (told["of"], told["source"]) == ("Icarus", tmp_path / "a.v")
    assert told["environment"]["TMPDIR"] == "."
    assert (folder / "dump.v").exists() == traced
    if traced:
        assert "$dumpvars(0, top);" in (folder / "dump.v").read_text()


def test_a_waveform_of_icarus_is_a_vcd(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["vvp", "-M", "libs", "-m", "vpi", "sim.vvp", "-fst", "+x"]
    monkeypatch.setattr(Icarus, "_test_command", lambda runner: [command])
    monkeypatch.setattr(sim.simulators.icarus, "find_icarus", lambda: Path("/a"))
    runner = IcarusRunner()
    runner._simulator_in_path()
    found = ["/a/vvp", "-M", "libs", "-m", "vpi", "sim.vvp", "-vcd", "+x"]
    assert runner._test_command() == [found]
