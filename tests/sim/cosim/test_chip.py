"""Faults, loading and cancellation on the simulated chip.

The tests themselves run inside the simulator (cocotb_chip.py).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdl.toolchain.emit import TOP, VERILOG_NAME
from mmfree.chip.sizing import design_for
from sim.cosim.chip import write_chip
from sim.cosim.run_folder import Run, Traffic, write_run
from sim.simulators.runner import build, run
from tests.support.sim.shapes import ODD, SLOW_SHAPES, Shape

FEW = {
    "weights": 60,
    "headers": 10,
    "embedding": 5,
    "biases": 5,
    "tables": 15,
    "reciprocal_root": 5,
}
MANY = {
    "weights": 1000,
    "headers": 50,
    "embedding": 30,
    "biases": 30,
    "tables": 60,
    "reciprocal_root": 30,
}
"""200 faults in tables and parameters."""


def play(
    shape: Shape, code: str, faults: dict[str, int], folder: Path, pause: float = 0.0
) -> dict[str, int]:
    """Run the cocotb tests; returns the faults that were found."""
    tape = shape.tape(1, wild=False)
    design = design_for(tape, shape.lanes, code)
    write_chip(folder, [tape], design)
    write_run(folder, Run(design=design, sequences=[], traffic=Traffic(pause=pause)))
    (folder / "faults.json").write_text(json.dumps({"seed": 1, "faults": faults}))
    run(build([folder / VERILOG_NAME], TOP), "tests.support.sim.cocotb_chip", folder)
    found: dict[str, int] = json.loads((folder / "found.json").read_text())
    return found


def test_faults_loading_and_cancellation(tmp_path: Path) -> None:
    assert play(ODD, "2", FEW, tmp_path) == FEW


def test_faults_are_found_though_weights_come_slowly(tmp_path: Path) -> None:
    """A check word may then be the last that a token waits for."""
    assert play(ODD, "2", {"weights": 100}, tmp_path, pause=0.95) == {"weights": 100}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "code"), [(ODD, "2"), (SLOW_SHAPES[0], "1.6")], ids=["odd", "three layers"]
)
def test_a_thousand_faults_are_found(shape: Shape, code: str, tmp_path: Path) -> None:
    assert play(shape, code, MANY, tmp_path) == MANY
