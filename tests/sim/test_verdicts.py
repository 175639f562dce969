"""A chip that hangs or differs is a failed check: one line, exit code 1, from every verb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import sim.cosim.chip
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.cli.main import main
from mmfree.tape.pow2 import Tape, write_tape
from tests.support.sim.shapes import ODD

LANES = ["--lanes", str(ODD.lanes)]
PROMPT = ["--prompt", "011010001110"]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A random model that reads bits."""
    path = tmp_path / "model.tape"
    write_tape(replace(ODD.tape(1, wild=False), tokenizer={"kind": "parity"}), path)
    return path


def silent(convert: Callable[[str, Sequence[str]], str]) -> Callable[[str, Sequence[str]], str]:
    """The conversion to Verilog, of a chip that never says that a result is there."""

    def changed(rtlil: str, memories: Sequence[str]) -> str:
        head, top, body = convert(rtlil, memories).partition("module mmfree(")
        wire, port = "  wire result__valid;\n", ".chosen__valid(result__valid)"
        assert body.count(port) == 1
        body = body.replace(port, ".chosen__valid()")
        return head + top + body.replace(wire, f"{wire}  assign result__valid = 1'h0;\n", 1)

    return changed


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The line for people; a bug would come with its traceback."""
    lines = capsys.readouterr().err.splitlines()
    assert not any(line.startswith("Traceback") for line in lines)
    return lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["cosim", "power"])
def test_a_chip_that_hangs(
    verb: str, tape: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unkept = sim.cosim.chip.generic_verilog.__wrapped__
    monkeypatch.setattr(sim.cosim.chip, "generic_verilog", unkept)
    monkeypatch.setattr(sim.cosim.chip, "convert_verilog", silent(sim.cosim.chip.convert_verilog))
    assert main([verb, str(tape), *LANES, *PROMPT]) == 1
    assert "the chip gave no answer within 86,500 cycles" in error_of(capsys)


def of_another_tape(tape: Tape, design: Design) -> Image:
    """A sound image that makes other choices."""
    return layout(ODD.tape(3, wild=True), design)


def test_a_chip_that_differs_in_a_measurement_of_activity(
    tape: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sim.cosim.chip, "layout", of_another_tape)
    assert main(["power", str(tape), *LANES, *PROMPT]) == 1
    assert "the chip chose row" in error_of(capsys)


def test_a_chip_that_differs_in_a_cosimulation(
    tape: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sim.cosim.chip, "layout", of_another_tape)
    assert main(["cosim", str(tape), *LANES]) == 1
    assert "NOT bit-exact; the first difference: sequence 0" in capsys.readouterr().out
