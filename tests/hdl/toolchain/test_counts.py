"""Counts of one design's cells: which is which, and blocks that add up to a counted whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hdl.toolchain.families
from hdl.fabric.technology import Technology
from hdl.planning.cost import resources
from hdl.toolchain.counts import (
    WAYS,
    block_count,
    counts_to_dict,
    describe_counts,
    estimated_count,
    routed_count,
    synthesized_count,
)
from hdl.toolchain.families import FAMILIES, Area, area_by_block, with_totals
from mmfree.chip.design import Design
from mmfree.errors import InputError
from tests.support.sim.shapes import ODD

AREAS = {
    "array": Area(luts=300, flip_flops=500),
    "post": Area(luts=100, flip_flops=250, lut_rams=52, ram_blocks=3, disabled_blocks=1.5),
    "source": Area(flip_flops=250, ram_blocks=1),
}


def test_each_way_counts_its_own() -> None:
    cells = {"LUT4": 100, "CCU2C": 20, "TRELLIS_DPR16X4": 5, "TRELLIS_FF": 70, "PFUMX": 9}
    cells |= {"DP16KD": 3, "PDPW16KD": 1}
    counts = [
        estimated_count(ODD.design()),
        block_count(AREAS),
        synthesized_count(cells),
        routed_count({"TRELLIS_COMB": (200, 999), "TRELLIS_FF": (71, 999), "DP16KD": (4, 99)}),
    ]
    assert [count.way for count in counts] == list(WAYS), "from the first guess to what was built"
    size = resources(ODD.design())
    assert [(c.luts, c.flip_flops, c.ram_blocks) for c in counts] == [
        (size.luts, size.flip_flops, size.blocks),
        (452, 1000, 4),
        (100 + 2 * 20 + 4 * 5, 70, 4),
        (200, 71, 4),
    ]
    table = describe_counts(counts_to_dict(counts)).splitlines()
    assert table[2] == f"by block          452       1,000           4  {WAYS['by block']}"
    assert all(
        line.endswith(WAYS[count.way]) for line, count in zip(table[1:], counts, strict=True)
    )


def test_blocks_are_scaled_to_what_was_counted() -> None:
    found = with_totals(AREAS, luts=552, flip_flops=1100, ram_blocks=8)
    assert found == {
        "array": Area(luts=375, flip_flops=550),
        "post": Area(luts=125, flip_flops=275, lut_rams=52, ram_blocks=6, disabled_blocks=3),
        "source": Area(flip_flops=275, ram_blocks=2),
    }


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=12).filter(any),
    st.integers(0, 90_000),
)
def test_blocks_add_up_whatever_the_whole(sizes: list[int], total: int) -> None:
    areas = {f"b{n}": Area(luts=size, flip_flops=size) for n, size in enumerate(sizes)}
    found = with_totals(areas, luts=total, flip_flops=total, ram_blocks=0)
    assert sum(area.luts for area in found.values()) == total
    assert sum(area.flip_flops for area in found.values()) == total
    for name, area in found.items():
        share = total * areas[name].luts / sum(sizes)
        assert abs(area.luts - share) <= 1, "within rounding of its share"


def test_fewer_luts_than_are_memory_are_of_another_design() -> None:
    assert with_totals(AREAS, luts=52, flip_flops=1, ram_blocks=4)["post"].luts == 0
    with pytest.raises(InputError, match="51 LUTs were counted of the whole design, and its"):
        with_totals(AREAS, luts=51, flip_flops=1, ram_blocks=4)


def test_a_kind_that_no_block_has_cannot_be_shared() -> None:
    areas = {"array": Area(luts=1, flip_flops=1)}
    with pytest.raises(InputError, match=r"2 block RAMs were counted .* its blocks have 0"):
        with_totals(areas, luts=1, flip_flops=1, ram_blocks=2)


@pytest.mark.parametrize(
    ("family", "cells", "area"),
    [
        (
            "ice40",
            {"SB_LUT4": 7, "SB_DFF": 1, "SB_DFFESR": 2, "SB_CARRY": 9, "SB_MAC16": 3}
            | {"SB_RAM40_4K": 1, "SB_RAM40_4KNR": 2, "SB_RAM40_4KNW": 4, "SB_RAM40_4KNRNW": 8},
            Area(luts=7, flip_flops=3, ram_blocks=15, dsp=3),
        ),
        (
            "ecp5",
            {"LUT4": 100, "CCU2C": 10, "TRELLIS_FF": 5, "TRELLIS_DPR16X4": 3, "PFUMX": 9}
            | {"L6MUX21": 9, "DP16KD": 2, "PDPW16KD": 1, "MULT18X18D": 1, "MULT9X9D": 2}
            | {"ALU54B": 4, "ALU24B": 8},
            Area(luts=120, flip_flops=5, lut_rams=12, ram_blocks=3, dsp=15),
        ),
        (
            "xc7",
            {"LUT1": 1, "LUT2": 2, "LUT3": 4, "LUT4": 8, "LUT5": 16, "LUT6": 32, "INV": 64}
            | {"MUXF7": 9, "CARRY4": 9, "FDRE": 1, "FDSE": 2, "FDCE": 4, "FDPE": 8}
            | {"RAMB36E1": 2, "RAMB18E1": 3, "DSP48E1": 5, "RAM32M": 1, "SRL16E": 1},
            Area(luts=127, flip_flops=15, lut_rams=5, ram_blocks=3.5, dsp=5),
        ),
        (
            "xcup",
            {"LUT6_2": 3, "LUT6": 1, "CARRY8": 9, "FDRE": 6, "RAM64M8": 2, "SRLC32E": 1}
            | {"RAMB36E2": 1, "RAMB18E2": 1, "URAM288": 4, "DSP48E2": 7},
            Area(luts=4, flip_flops=6, lut_rams=17, ram_blocks=1.5, uram=4, dsp=7),
        ),
    ],
)
def test_cells_of_every_family_by_hand(family: str, cells: dict[str, int], area: Area) -> None:
    """Of the ECP5 a carry cell takes two LUTs, and 16 words of 4 bits take four."""
    assert FAMILIES[family].area(cells) == area


def test_a_block_that_has_no_memory_has_none_disabled() -> None:
    areas = {"a": Area(luts=1, flip_flops=1, disabled_blocks=2.0), "b": Area(luts=1, ram_blocks=4)}
    found = with_totals(areas, luts=2, flip_flops=1, ram_blocks=2)
    assert (found["a"].disabled_blocks, found["b"].ram_blocks) == (0.0, 2)
    assert with_totals({"a": Area()}, luts=0, flip_flops=0, ram_blocks=0) == {"a": Area()}


def test_half_blocks_of_ram_are_rounded_when_they_are_all_counted() -> None:
    areas = {"a": Area(ram_blocks=1.5), "b": Area(ram_blocks=0.5), "c": Area(ram_blocks=1.5)}
    assert block_count(areas).ram_blocks == 4


def test_a_count_is_shared_by_more_than_its_name() -> None:
    count = routed_count({"TRELLIS_COMB": (200, 9), "TRELLIS_FF": (71, 9), "DP16KD": (4, 9)})
    assert counts_to_dict([count]) == {
        "routed": {
            "luts": 200,
            "flip_flops": 71,
            "ram_blocks": 4,
            "what": "the whole board, placed and routed by nextpnr: what the device has in use",
        }
    }


@pytest.mark.parametrize(
    ("family", "technology", "before", "disabled"),
    [
        ("ecp5", Technology.ECP5, 0, 1.5),
        ("ice40", Technology.GENERIC, 1, 0),
        ("xc7", Technology.GENERIC, 0, 0),
        ("xcup", Technology.ULTRASCALE_PLUS, 0, 0),
    ],
)
def test_a_chip_is_synthesized_for_its_family_block_by_block(
    family: str,
    technology: Technology,
    before: int,
    disabled: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of block RAMs that stay disabled the ECP5's are known; the iCE40 has no other memory."""
    seen: dict[str, Any] = {}
    bank = SimpleNamespace(disabled_blocks=lambda: 0.75)

    def accelerator(design: Design, *, array: Any) -> SimpleNamespace:
        seen.update(design=design, array=array)
        return SimpleNamespace(memories={"post": (bank, bank), "source": ()})

    def rtlil(chip: SimpleNamespace, used: Technology) -> str:
        seen["technology"] = used
        return "TEXT"

    def cells(text: str, top: str, synthesis: str, *, before: Any) -> dict[str, dict[str, int]]:
        seen.update(text=text, top=top, synthesis=synthesis, before=before)
        kind = {"ice40": "SB_LUT4", "ecp5": "LUT4"}.get(family, "LUT6")
        return {"post": {kind: 5}, "source": {kind: 7}, "top": {}}

    monkeypatch.setattr(hdl.toolchain.families, "Accelerator", accelerator)
    monkeypatch.setattr(hdl.toolchain.families, "convert_rtlil", rtlil)
    monkeypatch.setattr(hdl.toolchain.families, "cells_by_block", cells)
    array = object()
    found = area_by_block(ODD.design(), family, array=array)  # type: ignore[arg-type]
    assert found == {
        "post": Area(luts=5, disabled_blocks=disabled),
        "source": Area(luts=7),
        "top": Area(),
    }
    assert (seen["design"], seen["array"], seen["technology"]) == (ODD.design(), array, technology)
    assert (seen["text"], seen["top"]) == ("TEXT", "mmfree")
    assert seen["synthesis"] == FAMILIES[family].synthesis
    assert len(seen["before"]) == before
