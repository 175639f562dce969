"""Joules per token of a projection: the energies of published systems, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hdl.planning.parts import find_part, known_parts
from hdl.planning.projection import project
from hdl.toolchain.families import Area
from mmfree.inference.shapes import SHAPES
from mmfree.training.presets import PRESETS
from sim.power.coefficients import Quantity, load_part
from sim.power.projected import projected_joules
from sim.power.validation import Sizes, watts_of

LARGE, SMALL = SHAPES["370m"], PRESETS["addition"]().model


def test_a_kv260_by_hand() -> None:
    """0.30 W static; 0.08 toggles a cycle; block RAM of 12 pJ in 0.4 of the cycles; 20 pJ a bit."""
    plan = project(LARGE, find_part("kv260"))
    plan = replace(plan, cells={"luts": 10_000, "flip_flops": 20_000, "ram_blocks": 50})
    cycle = 0.08 * (10_000 * 0.35 + 20_000 * 0.179) + 20_000 * 0.025 + 0.4 * 50 * 12
    rate = plan.tokens_per_second()
    joules = (0.30 + 250e6 * 1e-12 * cycle) / rate + 8 * plan.token_bytes * 20e-12
    found = projected_joules(plan)
    assert found is not None
    assert found.best == pytest.approx(joules, rel=1e-9)
    assert found.low < found.best < found.high


def test_in_block_ram_no_memory_is_read() -> None:
    plan = project(SMALL, find_part("kv260"))
    found = projected_joules(plan)
    assert found is not None
    watts = watts_of(load_part("zu5ev"), Sizes(area=Area(**plan.cells), clock_hz=plan.clock.value))
    assert found.best * plan.tokens_per_second() == pytest.approx(watts.best)


def test_what_does_not_fit_takes_no_joules() -> None:
    for name in known_parts():
        plan = project(LARGE, find_part(name))
        assert (projected_joules(plan) is None) == (not plan.fits), name


def test_energy_of_a_weight_is_between_its_memory_and_what_others_measured() -> None:
    """1.6 bits of DDR4 are 32 pJ; bitnet-kv260 takes 61 pJ a weight over its idle."""
    found = projected_joules(project(LARGE, find_part("kv260")))
    assert found is not None
    assert 32e-12 < found.best / LARGE.num_ternary_weights < 61e-12


def test_a_base_and_several_devices_by_hand() -> None:
    part, none = load_part("zu5ev"), Area()
    base = Quantity(3.0, 2.0, 5.0, "W", "K", "a test")
    still = watts_of(part, Sizes(area=none, clock_hz=1e8, base=base, devices=2))
    assert still.best == pytest.approx(2 * (3.0 + 0.30))
    assert still.high > 2 * 5.0
    bare = watts_of(part, Sizes(area=none, clock_hz=1e8, base=base, static=False))
    assert (bare.low, bare.best, bare.high) == (2.0, 3.0, 5.0)
    read = Sizes(area=none, clock_hz=1e8, static=False, memory="hbm2", bytes_per_second=1e12)
    assert watts_of(part, read).best == pytest.approx(8e12 * 7e-12)
    clocks = Sizes(area=Area(flip_flops=1000), clock_hz=1e9, static=False)
    less = watts_of(part, replace(clocks, clocks=False))
    assert watts_of(part, clocks).best - less.best == pytest.approx(1000 * 0.025e-12 * 1e9)
