"""Faults of an external memory: each is found in the pass that reads it, and does no harm.

They run inside the simulator (tests/support/sim/cocotb_external.py).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmfree.chip.external_memory import find_memory
from mmfree.chip.sizing import design_for_memory
from mmfree.contract.shape import ModelConfig
from mmfree.tape.reading import AnyTape
from sim.cosim.chip import write_chip
from sim.cosim.run_folder import Run, write_run
from sim.cosim.wrapper import WRAPPER, write_bench
from sim.memory.model import Behaviour
from sim.simulators.runner import build, run
from tests.support.sim.shapes import ABSMAX_ODD, ABSMAX_SLOW_SHAPES, ODD, Shape

BEHAVIOURS = [Behaviour(), Behaviour(latency=(2, 90), withheld=25, address_withheld=60)]
TWO_LAYERS = Shape(
    name="two layers",
    config=ModelConfig(
        vocab_size=9,
        head_size=7,
        hidden_size=37,
        intermediate_size=53,
        num_layers=2,
        gate="signed",
    ),
    lanes=0,
)


def play(
    shape: Shape, memory: str, folder: Path, *, faults: int, behaviour: Behaviour, seed: int = 1
) -> None:
    """Run the cocotb tests on a chip with an external memory."""
    play_on(shape.tape(1, wild=False), memory, folder, faults, behaviour, seed)


def play_on(
    tape: AnyTape, memory: str, folder: Path, faults: int, behaviour: Behaviour, seed: int = 1
) -> None:
    """As ``play``, of a tape."""
    external = find_memory(memory)
    assert external is not None
    design = design_for_memory(tape.config, external)
    write_chip(folder, [tape], design)
    write_run(folder, Run(design=design, sequences=[], memory=behaviour, seed=seed, recorded=True))
    (folder / "faults.json").write_text(json.dumps(faults))
    sources = write_bench(folder, design, recorded=True, two_clocks=behaviour.bus_ns is not None)
    run(build(sources, WRAPPER), "tests.support.sim.cocotb_external", folder)
    assert json.loads((folder / "found.json").read_text()), "the faults were not played"


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=["default", "erratic"])
def test_a_few_faults(behaviour: Behaviour, tmp_path: Path) -> None:
    play(ODD, "axi64", tmp_path, faults=8, behaviour=behaviour)


@pytest.mark.slow
def test_faults_in_tiles_gains_bounds_and_scales(tmp_path: Path) -> None:
    """Of a published checkpoint: each is found in the pass that reads it."""
    (tmp_path / "chip").mkdir()
    tape = ABSMAX_ODD.tape(tmp_path, 1)
    play_on(tape, "axi64", tmp_path / "chip", faults=24, behaviour=BEHAVIOURS[1])


@pytest.mark.long
def test_200_faults_of_a_published_checkpoint_behind_two_ports(tmp_path: Path) -> None:
    (tmp_path / "chip").mkdir()
    tape = ABSMAX_SLOW_SHAPES[0].tape(tmp_path, 1)
    play_on(tape, "axi128x2", tmp_path / "chip", faults=200, behaviour=BEHAVIOURS[0], seed=5)


@pytest.mark.slow
def test_100_faults_in_two_layers_behind_two_ports(tmp_path: Path) -> None:
    play(TWO_LAYERS, "axi128x2", tmp_path, faults=100, behaviour=BEHAVIOURS[1], seed=2)


@pytest.mark.slow
def test_faults_with_a_clock_of_its_own(tmp_path: Path) -> None:
    play(ODD, "axi64", tmp_path, faults=10, behaviour=Behaviour(bus_ns=7.3), seed=3)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_300_faults(seed: int, tmp_path: Path) -> None:
    """900 in all, and 100 in the slow tests."""
    behaviour = BEHAVIOURS[seed % 2]
    play(TWO_LAYERS, "axi128x2", tmp_path, faults=300, behaviour=behaviour, seed=10 + seed)
