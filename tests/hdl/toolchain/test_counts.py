"""Counts of one design's cells: which is which, and blocks that add up to a counted whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.toolchain.cost import resources
from hdl.toolchain.counts import (
    WAYS,
    block_count,
    counts_to_dict,
    describe_counts,
    estimated_count,
    routed_count,
    synthesized_count,
)
from hdl.toolchain.families import Area, with_totals
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
