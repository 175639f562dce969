"""Projections: the cost model's cycles, by hand; what limits; what is missing, to the unit."""

from __future__ import annotations

from dataclasses import replace

import pytest

import hdl.planning.projection
from hdl.planning.cost import clock_hz
from hdl.planning.cycles import cycles_per_token, lane_utilization, segment_cycles
from hdl.planning.fit import Shortage, usual_cells
from hdl.planning.memories import memory_bits
from hdl.planning.parts import Fact, Part, find_part, known_parts
from hdl.planning.projection import USABLE, Projection, project
from mmfree.chip.external_memory import find_memory
from mmfree.chip.memory_image import image_regions
from mmfree.chip.sizing import design_for_memory, design_for_model, stream_words
from mmfree.errors import InputError
from mmfree.inference.shapes import SHAPES
from mmfree.training.presets import PRESETS
from tests.support.sim.shapes import shape_of

SMALL = PRESETS["addition"]().model
LARGE = SHAPES["370m"]
MEDIUM = shape_of(256, 704, 6, 512)
"""Five million weights: 8 Mbit, on the chip of some parts."""


def part_with(part: Part, **capacity: int) -> Part:
    return replace(part, capacity=part.capacity | capacity)


@pytest.mark.parametrize("name", known_parts())
def test_cycles_are_those_of_the_cost_model(name: str) -> None:
    for config in (SMALL, MEDIUM, LARGE):
        plan = project(config, find_part(name))
        assert plan.cycles == cycles_per_token(config, plan.design)
        assert plan.beats == sum(s.beats for s in segment_cycles(config, plan.design))
        if plan.fits and plan.memory is None:
            assert plan.tokens_per_second() == pytest.approx(plan.clock.value / plan.cycles)
            lanes = plan.design.lanes * plan.clock.value
            weights = config.num_ternary_weights * plan.tokens_per_second()
            assert weights / lanes == pytest.approx(lane_utilization(config, plan.design))


def test_four_ports_of_a_kv260_by_hand() -> None:
    plan = project(LARGE, find_part("kv260"))
    assert plan.fits
    external = find_memory("axi128x4")
    assert external is not None
    assert plan.design == design_for_memory(LARGE, external)
    # A word has 16 bytes of each port; a row of the embedding 64 beats and a check word.
    words = stream_words(LARGE, plan.design)
    assert plan.token_bytes == 16 * (4 * words + 65)
    assert plan.image_bytes == image_regions(plan.design, words, 32000)[1]
    assert plan.array_seconds == plan.cycles / 250e6
    assert plan.needed_bytes_per_second == pytest.approx(plan.token_bytes * 250e6 / plan.cycles)
    usable, measured = find_part("kv260").memories[0].rates
    assert plan.memory_tokens_per_second == pytest.approx(16e9 / plan.token_bytes)
    # The array is a little slower than the memory, and faster than what a peer measured.
    assert plan.limited_by == "array"
    assert plan.tokens_per_second() == plan.tokens_per_second(usable)
    assert plan.tokens_per_second() == pytest.approx(250e6 / plan.cycles)
    assert plan.tokens_per_second(measured) == pytest.approx(12.73e9 / plan.token_bytes)


def test_figures_of_the_published_models() -> None:
    """Tokens per second; an independent estimate for 320 lanes gave 230, 61 and 30."""
    found = {
        (model, part): project(config, find_part(part))
        for model, config in SHAPES.items()
        for part in ("kv260", "ecpix-5", "u280")
    }
    for model, rate in (("370m", 230), ("1.3b", 61), ("2.7b", 30)):
        assert found[model, "kv260"].tokens_per_second() == pytest.approx(rate, rel=0.02)
    for model, slow in (("370m", 8.7), ("1.3b", 2.3)):
        assert found[model, "ecpix-5"].tokens_per_second() == pytest.approx(slow, rel=0.02)
        assert found[model, "ecpix-5"].limited_by == "memory"
    assert not found["2.7b", "ecpix-5"].fits
    for model, rate in (("370m", 4850), ("1.3b", 1480), ("2.7b", 750)):
        assert rate < found[model, "u280"].tokens_per_second() < 1.2 * rate


def test_block_ram_comes_first_where_all_fits() -> None:
    for name in known_parts():
        plan = project(SMALL, find_part(name))
        assert plan.fits
        assert (plan.design.memory, plan.memory, plan.token_bytes) == ("block", None, 0)
        assert plan.memory_tokens_per_second is None
    assert project(MEDIUM, find_part("ecp5-85")).design.memory == "block"
    assert not project(MEDIUM, find_part("ecp5-85")).fits
    assert project(MEDIUM, find_part("ecpix-5")).design.memory == "axi64"
    assert project(MEDIUM, find_part("u250")).design.memory == "block"


def test_a_memory_that_is_asked_for_is_taken() -> None:
    kv260 = find_part("kv260")
    plan = project(SMALL, kv260, "axi64x2")
    assert (plan.design.memory, plan.design.lanes, plan.fits) == ("axi64x2", 80, True)
    assert project(SMALL, kv260, "block").design.memory == "block"
    inside = project(LARGE, kv260, "block")
    assert not inside.fits
    assert inside.memory is None
    with pytest.raises(InputError, match="memory 'ddr4' is unknown"):
        project(SMALL, kv260, "ddr4")


def test_the_fastest_that_fits_is_found() -> None:
    """No other ports of the board are faster by more than 2 %, nor as fast with fewer lanes."""
    for name in ("ecpix-5", "kv260", "u250", "u280"):
        part = find_part(name)
        best = project(LARGE, part)
        tried = [
            project(LARGE, part, f"axi{bits}x{ports}")
            for memory in part.memories
            for bits in memory.port_bits
            for ports in (1, 2, 4, 8, 16, 32)
            if ports <= memory.most_ports
        ]
        fitting = [plan for plan in tried if plan.fits]
        most = max(plan.tokens_per_second() for plan in fitting)
        assert best.tokens_per_second() * 1.02 >= most
        smaller = [plan for plan in fitting if plan.design.lanes < best.design.lanes]
        assert all(plan.tokens_per_second() * 1.02 < most for plan in smaller)


def test_the_best_design_in_block_ram_is_found() -> None:
    part = find_part("ecp5-45")
    best = project(SMALL, part)
    usable = {kind: int(share * part.capacity[kind]) for kind, share in USABLE.items()}
    for lanes in (16, 64, 128, 256, 512):
        for code in ("2", "1.67", "1.6"):
            design = design_for_model(SMALL, lanes, code)
            cells = usual_cells(design, "ecp5")
            if all(count <= usable[kind] for kind, count in cells.items()):
                rate = clock_hz(lanes) / cycles_per_token(SMALL, design)
                assert rate <= 1.02 * best.tokens_per_second()


def test_more_of_anything_is_never_slower() -> None:
    for config in (SMALL, MEDIUM, LARGE):
        for name in known_parts():
            part = find_part(name)
            before = project(config, part)
            larger = part_with(part, **{kind: 2 * n for kind, n in part.capacity.items()})
            after = project(config, larger)
            assert after.fits >= before.fits
            if before.fits and after.design.memory == before.design.memory:
                assert after.tokens_per_second() * 1.02 >= before.tokens_per_second()


def faster(part: Part, factor: float) -> Part:
    """The part with a memory of so many times the rate."""
    memories = tuple(
        replace(
            memory,
            rates=tuple(replace(rate, value=factor * rate.value) for rate in memory.rates),
        )
        for memory in part.memories
    )
    return replace(part, memories=memories)


def test_a_faster_memory_helps_until_the_array_limits() -> None:
    rates, limits = [], []
    for factor in (0.25, 0.5, 1, 2, 4):
        plan = project(LARGE, faster(find_part("kv260"), factor), "axi128x4")
        rates.append(plan.tokens_per_second())
        limits.append(plan.limited_by)
    assert rates == sorted(rates)
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.01)
    assert rates[2] == rates[3] == rates[4]
    assert limits == ["memory", "memory", "array", "array", "array"]


def test_pauses_limit_a_small_model_on_many_lanes() -> None:
    plan = project(SMALL, find_part("u250"))
    assert plan.limited_by == "bubbles"
    assert plan.cycles - plan.beats > plan.beats / 2
    exactly = replace(plan, cycles=300, beats=200)
    assert exactly.limited_by == "array", "as much as twice the lanes would gain"
    assert replace(exactly, cycles=301).limited_by == "bubbles"


def test_cells_that_are_missing_are_counted_to_the_unit() -> None:
    part = find_part("kv260")
    external = find_memory("axi128x4")
    assert external is not None
    needed = usual_cells(design_for_memory(LARGE, external), "xcup")
    enough = {
        "luts": -(-10 * needed["luts"] // 8),
        "flip_flops": -(-10 * needed["flip_flops"] // 8),
        "ram_blocks": needed["ram_blocks"],
    }
    assert project(LARGE, part_with(part, **enough), "axi128x4").fits
    for kind in enough:
        less = part_with(part, **enough | {kind: enough[kind] - 10})
        plan = project(LARGE, less, "axi128x4")
        usable = int(USABLE[kind] * less.capacity[kind])
        assert plan.shortages == (Shortage(kind=kind, needed=needed[kind], available=usable),)


def test_the_controller_of_a_memory_takes_cells_too() -> None:
    plan = project(LARGE, find_part("u250"))
    usual = usual_cells(plan.design, "xcup")
    assert {kind: plan.cells[kind] - usual[kind] for kind in usual} == {
        "luts": 80_000,
        "flip_flops": 90_000,
        "ram_blocks": 104,
    }


def test_a_memory_that_is_too_small_by_a_page() -> None:
    part = find_part("ulx3s-85f")
    plan = project(LARGE, part)
    assert plan.shortages == (
        Shortage(kind="memory_bytes", needed=plan.image_bytes, available=32 << 20),
    )

    def with_capacity(value: int) -> Projection:
        (memory,) = part.memories
        capacity = replace(memory.capacity, value=value)
        return project(LARGE, replace(part, memories=(replace(memory, capacity=capacity),)))

    assert with_capacity(plan.image_bytes).fits
    short = with_capacity(plan.image_bytes - 1)
    assert [shortage.missing for shortage in short.shortages] == [1]


def test_block_ram_that_is_far_too_small_is_told_in_bits_and_not_placed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hdl.planning.projection, "usual_cells", None)
    plan = project(LARGE, find_part("ecp5-85"))
    bits = memory_bits(design_for_model(LARGE, 256, "1.6"))
    assert plan.shortages == (Shortage(kind="ram_bits", needed=bits, available=208 * 18432),)
    assert plan.cells == {}


def test_block_ram_that_is_a_little_too_small_is_told_in_blocks() -> None:
    config = PRESETS["text"]().model
    plan = project(config, find_part("ecp5-25"))
    (shortage,) = plan.shortages
    assert (shortage.kind, shortage.available) == ("ram_blocks", 56)
    assert 56 < shortage.needed == plan.cells["ram_blocks"] < 70


def test_ports_that_a_board_does_not_have() -> None:
    (no_memory,) = project(LARGE, find_part("ecp5-85"), "axi128x4").shortages
    assert no_memory == Shortage(kind="ports", needed=4, available=0)
    found = project(LARGE, find_part("kv260"), "axi256x8").shortages
    assert found == (
        Shortage(kind="ports", needed=8, available=4),
        Shortage(kind="port_bits", needed=256, available=128),
    )


def test_of_two_memories_the_faster_is_taken() -> None:
    plan = project(LARGE, find_part("u280"))
    assert plan.memory is not None
    assert plan.memory.name == "HBM2"
    part = find_part("u280")
    other = replace(part, memories=part.memories[1:])
    assert project(LARGE, other).tokens_per_second() < plan.tokens_per_second()


def test_clocks_are_of_routed_designs_or_assumed() -> None:
    routed = project(SMALL, find_part("ecp5-45"))
    assert routed.clock.value == clock_hz(routed.design.lanes)
    assert routed.clock.source.startswith("designs of 256 to 512 lanes")
    nearest = project(LARGE, find_part("ecpix-5")).clock
    assert nearest.source.startswith("the nearest of designs of 256 to 512 lanes")
    assert (nearest.label, nearest.value) == ("D", clock_hz(40))
    assert project(LARGE, find_part("kv260")).clock == Fact(
        value=250e6,
        label="A",
        source=find_part("kv260").clock.source,  # type: ignore[union-attr]
    )


def test_as_json() -> None:
    values = project(LARGE, find_part("kv260")).to_dict()
    assert {name: values[name] for name in ("part", "label", "fits", "limited_by", "lanes")} == {
        "part": "kv260",
        "label": "projected",
        "fits": True,
        "limited_by": "array",
        "lanes": 320,
    }
    assert values["clock_hz"] == 250e6
    assert values["tokens_per_second"] == pytest.approx(250e6 / values["cycles_per_token"])
    assert [round(rate["tokens_per_second"]) for rate in values["rates"]] == [231, 185]
    assert values["cells"]["ram_blocks"]["usable"] == 144
    short = project(LARGE, find_part("ulx3s-85f")).to_dict()
    assert (short["fits"], short["limited_by"], short["tokens_per_second"]) == (False, None, None)
    (shortage,) = short["shortages"]
    assert shortage["missing"] == shortage["needed"] - (32 << 20)
    assert short["rates"][0]["tokens_per_second"] is None
    assert project(SMALL, find_part("kv260")).to_dict()["rates"] == []
