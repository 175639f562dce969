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
from tests.support.hdl.streams import PACES, Pace
from tests.support.sim.shapes import ODD, SLOW_SHAPES, Shape

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
    design = design_for(tape, shape.lanes, code)
    write_chip(folder, [tape], design)
    write_run(folder, Run(design=design, sequences=[], traffic=traffic))
    (folder / "faults.json").write_text(json.dumps({"seed": 1, "faults": faults}))
    run(build([folder / VERILOG_NAME], TOP), "tests.support.sim.cocotb_chip", folder)
    found: dict[str, int] = json.loads((folder / "found.json").read_text())
    return found


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
    assert play(ODD, "2", {"weights": 30}, tmp_path, Traffic(pause=0.95)) == {"weights": 30}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "code"), [(ODD, "2"), (SLOW_SHAPES[0], "1.6")], ids=["odd", "three layers"]
)
def test_a_thousand_faults_are_found(shape: Shape, code: str, tmp_path: Path) -> None:
    assert play(shape, code, MANY, tmp_path) == MANY
