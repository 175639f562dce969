"""The clock and the cells that an estimate rests on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hdl.planning.cost import clock_hz
from hdl.toolchain import families
from hdl.toolchain.built import Built
from hdl.toolchain.counts import ROUTED, Count
from hdl.toolchain.families import Area
from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for_model
from mmfree.errors import InputError
from sim.power.basis import cells_of, clock_of, refuse_small_part
from sim.power.coefficients import load_part
from tests.support.sim.shapes import ADDITION, ODD

DESIGN = ODD.design()
ECP5, ULTRASCALE = load_part("ecp5-85"), load_part("zu5ev")
BUILT = Built(
    device="LFE5U-85F",
    tape_sha256="",
    design=DESIGN,
    pll_hz=62.5e6,
    routed_hz=166.7e6,
    counts=(Count(way=ROUTED, luts=700, flip_flops=900, ram_blocks=0),),
)


def test_a_build_has_the_clock_of_its_pll_and_its_routing_is_the_limit() -> None:
    found = clock_of(ECP5, DESIGN, None, BUILT)
    assert (found.hz, found.limit_hz) == (62.5e6, 166.7e6)
    assert found.label == "this build's PLL; routed for up to 166.7 MHz"
    for asked_hz in (20e6, 166.7e6):
        found = clock_of(ECP5, DESIGN, asked_hz, BUILT)
        assert (found.hz, found.limit_hz) == (asked_hz, 166.7e6)
        assert "whose PLL makes 62.5 MHz" in found.label
    with pytest.raises(InputError, match=r"--clock: 167 MHz is above what was reached, 166\.7 MHz"):
        clock_of(ECP5, DESIGN, 167e6, BUILT)


def test_a_build_whose_clock_was_missed_is_labelled() -> None:
    found = clock_of(ECP5, DESIGN, None, replace(BUILT, routed_hz=60e6))
    assert found.hz == 62.5e6
    assert found.label.startswith("this build's PLL, ABOVE the 60.0 MHz it is routed for")


def test_without_a_build_a_clock_is_projected_or_assumed() -> None:
    found = clock_of(ECP5, DESIGN, None, None)
    assert (found.hz, found.limit_hz) == (clock_hz(DESIGN.lanes), clock_hz(DESIGN.lanes))
    assert found.label.startswith("projected")
    found = clock_of(ULTRASCALE, DESIGN, None, None)
    assert (found.hz, found.limit_hz) == (100e6, None)
    assert found.label.startswith("assumed")
    with pytest.raises(InputError, match=r"no FPGA's clock network goes beyond 1,000 MHz"):
        clock_of(ULTRASCALE, DESIGN, 1.1e9, None)


def test_a_clock_that_is_asked_for_is_taken_up_to_what_was_reached() -> None:
    reached = clock_hz(DESIGN.lanes)
    for hz in (1e6, reached):
        found = clock_of(ECP5, DESIGN, hz, None)
        assert (found.hz, found.limit_hz) == (hz, reached)
        assert found.label.startswith(f"asked for; reached: {reached / 1e6:.1f} MHz, projected")
    with pytest.raises(InputError, match="is above what was reached"):
        clock_of(ECP5, DESIGN, reached + 1, None)
    for hz in (1e6, 1e9):
        found = clock_of(ULTRASCALE, DESIGN, hz, None)
        assert (found.hz, found.limit_hz) == (hz, None)
    with pytest.raises(InputError, match="goes beyond 1,000 MHz, got 1000"):
        clock_of(ULTRASCALE, DESIGN, 1e9 + 1, None)


def test_a_build_that_is_routed_for_just_its_clock_is_sound() -> None:
    found = clock_of(ECP5, DESIGN, None, replace(BUILT, routed_hz=62.5e6))
    assert found.label == "this build's PLL; routed for up to 62.5 MHz"


def test_without_a_build_cells_are_counted_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """For another part than the ECP5 there is no cost model."""
    asked: list[str] = []

    def area_by_block(design: Design, family: str) -> dict[str, Area]:
        asked.append(family)
        return {"array": Area(luts=300, flip_flops=600, ram_blocks=2)}

    monkeypatch.setattr(families, "area_by_block", area_by_block)
    for part, ways in ((ECP5, ["estimated", "by block"]), (ULTRASCALE, ["by block"])):
        found = cells_of(part, DESIGN, None)
        assert [count.way for count in found.counts] == ways
        assert found.counts[-1].ram_blocks == 2
        assert found.text == "cells: Yosys estimate by block, neither placed nor routed"
    assert asked == ["ecp5", "xcup"]


def test_a_builds_cells_add_up_to_what_was_routed(monkeypatch: pytest.MonkeyPatch) -> None:
    areas = {"array": Area(luts=300, flip_flops=600), "post": Area(luts=200, flip_flops=200)}
    monkeypatch.setattr(families, "area_by_block", lambda design, family: areas)
    found = cells_of(ECP5, DESIGN, BUILT, Path("built"))
    assert found.areas == {
        "array": Area(luts=420, flip_flops=675),
        "post": Area(luts=280, flip_flops=225),
    }
    assert [count.luts for count in found.counts][1:] == [500, 700]
    assert "700 LUTs and 900 flip-flops" in found.text
    assert cells_of(ECP5, DESIGN, None).areas == areas
    other = replace(BUILT, counts=(replace(BUILT.routed, ram_blocks=3),))
    with pytest.raises(InputError, match=r"^built: 3 block RAMs were counted"):
        cells_of(ECP5, DESIGN, other, Path("built"))


@pytest.mark.parametrize(
    ("lanes", "message"),
    [
        (512, "512 lanes need at least .* LUTs .estimated., .* take fewer --lanes, .* have room$"),
        (
            1 << 18,
            "262,144 lanes need .* block RAMs .*, or another part; no part here has room$",
        ),
    ],
)
def test_a_small_part_is_refused_with_those_that_have_room(lanes: int, message: str) -> None:
    refuse_small_part(ECP5, design_for_model(ADDITION.config, 64))
    with pytest.raises(InputError, match=f"^--part ecp5-25: {message}"):
        refuse_small_part(load_part("ecp5-25"), design_for_model(ADDITION.config, lanes))


def test_a_small_memory_asks_for_a_denser_code() -> None:
    part = replace(ECP5, capacity=ECP5.capacity | {"ram_blocks": 3})
    with pytest.raises(
        InputError, match=r"block RAMs .*, and the part has 3; take fewer .*, --bits 1\.6"
    ):
        refuse_small_part(part, ADDITION.design())
