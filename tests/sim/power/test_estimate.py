"""Estimates: amounts, intervals, and what they are refused for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hdl.toolchain.cost import SegmentCycles
from hdl.toolchain.families import Area
from mmfree.errors import InputError
from sim.power.activity import BlockActivity
from sim.power.coefficients import Part, Quantity, load_part, load_quantities
from sim.power.estimate import KINDS, Interval, Load, Power, estimate, interval


def exactly(value: float, unit: str = "pJ") -> Quantity:
    return Quantity(value, value, value, unit, "D", "a test")


PART = Part(
    name="test",
    device="a part",
    technology="none",
    family="ecp5",
    capacity={"luts": 1000, "flip_flops": 1000, "ram_blocks": 10, "dsp": 2},
    coefficients={
        "static": exactly(0.1, "W"),
        "pll": exactly(0.02, "W"),
        "clock_net": exactly(5),
        "lut_toggle": exactly(2),
        "net_toggle": exactly(3),
        "ff_clock": exactly(0.5),
        "ff_toggle": exactly(0.25),
        "lutram_cycle": exactly(7),
        "ram_access": exactly(11),
        "uram_access": exactly(13),
        "dsp_op": exactly(17),
        "dsp_8_bits": exactly(0.5, "1"),
        "scale": exactly(1, "1"),
    },
)
SEGMENTS = [
    SegmentCycles(name="embedding", cycles=10, beats=0, wait_room=0, wait_drain=0, wait_vector=8),
    SegmentCycles(name="head", cycles=90, beats=60, wait_room=0, wait_drain=20, wait_vector=8),
]
LOAD = Load(
    areas={
        "array": Area(luts=100, flip_flops=200),
        "post": Area(luts=40, flip_flops=10, lut_rams=4, ram_blocks=2, dsp=1),
    },
    activity={
        # 0.25 toggles per register and cycle; 0.125 of what is read: the rate of the coefficients.
        "array": BlockActivity(registers=180, register_toggles=45_000),
        "post": BlockActivity(
            registers=10, register_toggles=5_000, read_bits=8, read_toggles=1_000, reads=8_000
        ),
    },
    activity_cycles=1000,
    cycles=100,
)
ARRAY_PICOJOULES = {
    "clock": 200 * 0.5,
    "logic": 100 * 0.25 * 0.92 * 1.2 * 2 + 200 * 0.25 * 0.25,
    "routing": (100 * 0.25 * 0.92 * 1.2 + 200 * 0.25) * 3,
    "memory": 0,
    "dsp": 0,
}
POST_PICOJOULES = {
    "clock": 10 * 0.5,
    "logic": 40 * 0.5 * 0.92 * 1.2 * 2 + 10 * 0.5 * 0.25,
    "routing": (40 * 0.5 * 0.92 * 1.2 + 10 * 0.5) * 3,
    "memory": 2 * 11 + 4 * 7,
    "dsp": 17 * 0.5,
}


def found(part: Part = PART, load: Load = LOAD, clock_hz: float = 50e6) -> Power:
    return estimate(part, load, clock_hz, clock_label="a test", segments=SEGMENTS)


def test_energy_is_cells_times_toggles_times_coefficients() -> None:
    model = load_quantities("model", "model")
    assert (model["lut_rate"].value, model["glitches"].value) == (0.92, 1.2), (
        "the numbers below are of these"
    )
    power = found()
    cycles = 100
    for kind, picojoules in ARRAY_PICOJOULES.items():
        expected = (
            1e-12 * cycles * (picojoules + POST_PICOJOULES[kind] + (5 if kind == "clock" else 0))
        )
        assert power.by_kind[kind].best == pytest.approx(expected)
    assert power.by_kind["static"].best == pytest.approx(0.12 * cycles / 50e6)
    assert power.by_block["array"].best == pytest.approx(
        1e-12 * cycles * sum(ARRAY_PICOJOULES.values())
    )


def test_blocks_kinds_and_segments_each_add_up() -> None:
    power = found()
    for shares in (power.by_kind, power.by_block, power.by_segment):
        assert sum(share.best for share in shares.values()) == pytest.approx(
            power.joules_per_token.best
        )
    assert set(power.by_kind) == set(KINDS)
    assert power.watts.best == pytest.approx(power.joules_per_token.best * power.tokens_per_second)
    assert power.tokens_per_second == pytest.approx(50e6 / 100)


def test_streaming_blocks_belong_to_the_segment_with_the_tiles() -> None:
    power = found()
    others = power.joules_per_token.best - power.by_block["array"].best
    assert power.by_segment["embedding"].best == pytest.approx(0.1 * others)


def test_a_faster_clock_saves_static_energy_alone() -> None:
    slow, fast = found(clock_hz=25e6), found(clock_hz=50e6)
    saved = slow.joules_per_token.best - fast.joules_per_token.best
    assert saved == pytest.approx(fast.by_kind["static"].best)
    assert fast.watts.best > slow.watts.best


def test_external_memory_costs_its_bits() -> None:
    load = replace(LOAD, external_bits=1e6)
    power = estimate(PART, load, 50e6, clock_label="", segments=SEGMENTS, external=exactly(20))
    assert power.by_kind["external"].best == pytest.approx(20e-6)
    assert power.joules_per_token.best == pytest.approx(found().joules_per_token.best + 20e-6)


def test_a_memory_that_reads_nothing_new_still_takes_its_share() -> None:
    still = load_quantities("model", "model")["ram_still"].value

    def memory(toggles: int) -> float:
        block = replace(LOAD.activity["post"], read_toggles=toggles)
        load = replace(LOAD, activity={**LOAD.activity, "post": block})
        return found(load=load).by_kind["memory"].best / 100e-12 - 4 * 7

    assert memory(0) == pytest.approx(22 * still)
    assert memory(1000) == pytest.approx(22)
    assert memory(8000) == memory(2000) == pytest.approx(22 * (2 - still))


def test_disabled_memories_take_nothing() -> None:
    def memory(reads: int, disabled_blocks: float = 0) -> float:
        block = replace(LOAD.activity["post"], reads=reads, read_toggles=reads // 8)
        areas = {**LOAD.areas, "post": replace(LOAD.areas["post"], disabled_blocks=disabled_blocks)}
        power = found(load=replace(LOAD, areas=areas, activity={**LOAD.activity, "post": block}))
        return power.by_kind["memory"].best / 100e-12 - 4 * 7

    assert memory(8_000) == pytest.approx(22)
    assert memory(2_000) == pytest.approx(22 / 4), "read in a quarter of the cycles"
    assert memory(2_000, disabled_blocks=1.5) == pytest.approx(22 / 16), (
        "and then a quarter of the blocks"
    )
    assert memory(0) == pytest.approx(0)


def test_independent_coefficients_add_as_squares() -> None:
    values = {"a": Quantity(10, 7, 14, "pJ", "D", "x"), "b": Quantity(20, 16, 23, "pJ", "D", "x")}
    result = interval(lambda v: v["a"] + v["b"], values)
    assert result == Interval(30 - 5, 30, 30 + 5)
    # What falls when a coefficient rises counts on the right side.
    assert interval(lambda v: 100 - v["a"], values) == Interval(86, 90, 93)


def test_the_interval_holds_the_best_and_widens_with_a_coefficient() -> None:
    narrow = found()
    assert narrow.joules_per_token.low < narrow.joules_per_token.best < narrow.joules_per_token.high
    wide = replace(
        PART, coefficients=PART.coefficients | {"net_toggle": Quantity(3, 1, 9, "pJ", "D", "x")}
    )
    assert found(wide).joules_per_token.high > narrow.joules_per_token.high
    assert found(wide).joules_per_token.low < narrow.joules_per_token.low


@pytest.mark.parametrize("part", ["ice40up5k", "ecp5-85", "xc7a35t", "zu5ev"])
def test_real_parts_give_intervals_that_say_something(part: str) -> None:
    power = found(load_part(part))
    assert 1 < power.joules_per_token.high / power.joules_per_token.low < 5


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("luts", Area(luts=990, lut_rams=11)),
        ("flip flops", Area(flip_flops=1001)),
        ("ram blocks", Area(ram_blocks=10.5)),
        ("dsp", Area(dsp=3)),
    ],
)
def test_a_design_that_does_not_fit_is_refused(name: str, area: Area) -> None:
    with pytest.raises(InputError, match=f"test: the design needs .* {name}, and the part has"):
        found(load=replace(LOAD, areas={"all": area}))


@pytest.mark.parametrize("clock_hz", [0.0, -1.0, math.inf, math.nan])
def test_the_clock_must_be_positive(clock_hz: float) -> None:
    with pytest.raises(InputError, match="the clock must be positive"):
        found(clock_hz=clock_hz)
