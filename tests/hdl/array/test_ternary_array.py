"""The ternary array against the golden product."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.back import rtlil

from hdl.array.ternary_array import CHAIN, TernaryArray
from hdl.toolchain.audit import forbidden_cells
from mmfree.chip.design import Design
from mmfree.golden.pow2 import ternary_product
from tests.support.hdl.array_bench import play_blocks
from tests.support.hdl.values import IDLE, ints, small_design
from tests.support.vectors import VECTORS


def array_of(design: Design) -> tuple[TernaryArray, Design]:
    return TernaryArray(design), design


@pytest.mark.parametrize(
    ("rows", "columns"),
    [*((1, 2), (4, 4), (2, 16), (4, 8), (8, 8), (16, 2)), *((5, 4), (6, 2), (20, 8), (1, 128))],
)
@pytest.mark.parametrize("idle", IDLE)
def test_sums_are_exact(rows: int, columns: int, idle: float) -> None:
    rng = np.random.default_rng(rows + columns)
    blocks = []
    for tiles in (1, 1, 2, 3, 1, 5):
        trits = rng.integers(-1, 2, (rows, tiles * columns)).astype(np.int8)
        blocks.append((trits, ints(rng.integers(-128, 128, tiles * columns))))
    play_blocks(*array_of(small_design(rows, columns, 5 * columns)), blocks, idle)


@pytest.mark.parametrize("trit", [-1, 0, 1])
@pytest.mark.parametrize("value", [-128, 127, -1, 0])
def test_all_weights_equal_at_the_largest_sum(trit: int, value: int) -> None:
    """The accumulator holds 128 * max_width and its negative."""
    columns, width = 4, 4 * 31
    trits = np.full((2, width), trit, dtype=np.int8)
    play_blocks(*array_of(small_design(2, columns, width)), [(trits, ints([value] * width))], 0.0)


def test_vector() -> None:
    vector = VECTORS["product"]
    trits = np.array(vector["trits"], dtype=np.int8)
    assert ternary_product(trits, ints(vector["q"])).tolist() == vector["acc"]
    play_blocks(*array_of(small_design(2, 4, 4)), [(trits, ints(vector["q"]))], 0.0)


@pytest.mark.parametrize(("rows", "columns"), [(4, 2 * CHAIN), (8, CHAIN // 2)])
def test_one_adder_for_each_lane_and_no_multiplier(rows: int, columns: int) -> None:
    text = rtlil.convert(
        TernaryArray(small_design(rows, columns, 64)), name="array", emit_src=False
    )
    assert not forbidden_cells(text)
    assert text.count("cell $add ") == rows * columns
    assert "cell $sub " not in text
