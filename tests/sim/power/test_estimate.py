"""Estimates: amounts, intervals, and what they are refused for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hdl.planning.cycles import SegmentCycles
from hdl.toolchain.families import Area
from mmfree.errors import InputError
from sim.power.activity import Activity, BlockActivity
from sim.power.coefficients import Part, Quantity, load_part, load_quantities
from sim.power.estimate import KINDS, Load, Power, estimate
from sim.power.interval import Interval, interval


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


def test_ultraram_and_idle_dsp_blocks_by_hand() -> None:
    """An UltraRAM of 13 pJ counts in every cycle; DSP blocks of 17 x 0.5 while lanes are busy."""
    areas = {"post": Area(uram=3, dsp=2)}
    load = replace(LOAD, areas=areas, busy=0.25)
    power = found(load=load)
    assert power.by_kind["memory"].best == pytest.approx(100e-12 * 3 * 13)
    assert power.by_kind["dsp"].best == pytest.approx(100e-12 * 0.25 * 2 * 17 * 0.5)
    assert power.by_kind["logic"].best == power.by_kind["routing"].best == 0


def test_a_block_without_registers_toggles_as_the_others_do() -> None:
    """And one that no activity names; a memory without one is read in every cycle."""
    areas = {"array": Area(luts=10), "other": Area(luts=10, ram_blocks=1)}
    load = replace(LOAD, areas=areas, activity={"array": BlockActivity()}, mean_rate=0.5)
    power = found(load=load)
    luts = 10 * 0.5 * 0.92 * 1.2
    assert power.by_block["array"].best == pytest.approx(100e-12 * luts * (2 + 3))
    assert power.by_block["other"].best == pytest.approx(100e-12 * (luts * (2 + 3) + 11))


def test_the_common_factor_scales_all_that_switches() -> None:
    """Not what leaks, nor the external memory."""
    twice = replace(PART, coefficients=PART.coefficients | {"scale": exactly(2, "1")})
    load = replace(LOAD, external_bits=1e3)
    one, two = (
        estimate(part, load, 50e6, clock_label="", segments=SEGMENTS, external=exactly(20))
        for part in (PART, twice)
    )
    for kind in KINDS:
        factor = 1 if kind in ("static", "external") else 2
        assert two.by_kind[kind].best == pytest.approx(factor * one.by_kind[kind].best), kind


def test_a_load_is_what_a_run_was() -> None:
    """20 tokens in 2,000 cycles; of these a share of 60 in 100 with tiles."""
    activity = Activity(
        tape_sha256="",
        design={},
        text="",
        tokens=20,
        cycles=2000,
        blocks={
            "array": BlockActivity(registers=30, register_toggles=6000),
            "post": BlockActivity(registers=10, register_toggles=2000),
        },
    )
    load = Load.of(LOAD.areas, activity, SEGMENTS)
    assert (load.activity_cycles, load.cycles, load.busy) == (2000, 100, 0.6)
    assert load.mean_rate == 8000 / 40 / 2000
    assert (load.areas, load.activity) == (LOAD.areas, activity.blocks)
    assert load.external_bits == 0
    assert load.blocks == ["array", "post"]


def test_an_estimate_says_of_what_it_is() -> None:
    power = estimate(
        PART, LOAD, 50e6, clock_label="asked for", segments=SEGMENTS, assumptions=("a", "b")
    )
    assert (power.part, power.device, power.label) == ("test", "a part", "estimated")
    assert (power.clock_hz, power.clock_label) == (50e6, "asked for")
    assert (power.cycles_per_token, power.assumptions) == (100, ("a", "b"))
    # LUTs that are memory take the place of others.
    assert power.utilisation == {
        "luts": (100 + 40 + 4, 1000),
        "flip_flops": (210, 1000),
        "ram_blocks": (2, 10),
        "dsp": (1, 2),
    }
    assert list(power.by_block) == ["whole chip", "array", "post"]
    assert power.to_dict()["joules_per_token"] == {
        name: getattr(power.joules_per_token, name) for name in ("low", "best", "high")
    }


def test_a_design_that_just_fits_is_estimated() -> None:
    area = Area(luts=900, lut_rams=100, flip_flops=1000, ram_blocks=9.5, dsp=2)
    power = found(load=replace(LOAD, areas={"all": area}))
    assert all(used == available for used, available in power.utilisation.values())


def test_nothing_takes_less_than_nothing() -> None:
    """An interval is not extended below 0, and scaled on all sides."""
    values = {name: Quantity(10, 0, 20, "pJ", "D", "x") for name in "ab"}
    result = interval(lambda v: v["a"] + v["b"] - 10, values)
    assert result == Interval(0, 10, 10 + math.sqrt(200))
    assert Interval(1, 2, 5) * 10 == Interval(10, 20, 50)
    # Both ends of a coefficient may lie on one side.
    bent = interval(lambda v: abs(v["a"] - 10), {"a": Quantity(10, 7, 14, "pJ", "D", "x")})
    assert bent == Interval(0, 0, 4)


def test_segments_without_a_tile_share_by_cycles() -> None:
    segments = [replace(segment, beats=0) for segment in SEGMENTS]
    power = estimate(PART, LOAD, 50e6, clock_label="", segments=segments)
    others = power.joules_per_token.best - power.by_block["array"].best
    assert power.by_segment["head"].best == pytest.approx(0.9 * others)


@pytest.mark.parametrize("part", ["ice40up5k", "ecp5-85", "xc7a35t", "zu5ev"])
def test_real_parts_give_intervals_that_say_something(part: str) -> None:
    power = found(load_part(part))
    assert 1 < power.joules_per_token.high / power.joules_per_token.low < 5


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("LUTs", Area(luts=990, lut_rams=11)),
        ("flip-flops", Area(flip_flops=1001)),
        ("block RAMs", Area(ram_blocks=10.5)),
        ("DSP blocks", Area(dsp=3)),
    ],
)
def test_a_design_that_does_not_fit_is_refused(name: str, area: Area) -> None:
    with pytest.raises(InputError, match=f"test: the design needs .* {name}, and the part has"):
        found(load=replace(LOAD, areas={"all": area}))


@pytest.mark.parametrize("clock_hz", [0.0, -1.0, math.inf, math.nan])
def test_the_clock_must_be_positive(clock_hz: float) -> None:
    with pytest.raises(InputError, match="the clock must be positive"):
        found(clock_hz=clock_hz)
