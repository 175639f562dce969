"""The fast product against sums of integers, at odd sizes, in blocks and in one piece."""

from __future__ import annotations

import numpy as np
import pytest

from mmfree.golden import product
from mmfree.golden.pow2 import ternary_product
from mmfree.golden.product import TernaryProduct


@pytest.mark.parametrize("heights", [(1,), (7,), (3, 3, 3), (4, 9)])
@pytest.mark.parametrize("fan_in", [1, 5, 64])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("block", [1, 2, 4, 100])
@pytest.mark.parametrize("kept", [False, True])
def test_sums_are_those_of_integers(
    heights: tuple[int, ...],
    fan_in: int,
    batch: int,
    block: int,
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Matrix after matrix; ``block`` rows at a time, or a block that is larger than all of them."""
    monkeypatch.setattr(product, "_KEPT_WEIGHTS", sum(heights) * fan_in - (not kept))
    monkeypatch.setattr(product, "_BLOCK_WEIGHTS", block * fan_in + fan_in - 1)
    rng = np.random.default_rng(fan_in)
    matrices = [rng.integers(-1, 2, (rows, fan_in), dtype=np.int8) for rows in heights]
    engine = TernaryProduct(matrices)
    assert engine.rows == sum(heights)
    for _ in range(2):
        q = rng.integers(-128, 128, (batch, fan_in)).astype(np.int32)
        assert np.array_equal(engine(q), ternary_product(np.concatenate(matrices), q))


def test_a_large_matrix_is_not_copied() -> None:
    """And gives sums of what it holds: an int8 matrix of twice as many weights as are kept."""
    matrix = np.zeros((2 * product._KEPT_WEIGHTS // 64, 64), dtype=np.int8)
    engine = TernaryProduct([matrix])
    matrix[-1, -1] = -1
    sums = engine(np.full((1, 64), 127))
    assert (sums[0, -1], np.count_nonzero(sums)) == (-127, 1)


@pytest.mark.parametrize("kept", [False, True])
def test_sums_are_exact_where_they_are_largest(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 * 65535 for the largest fan-in, and that plus 1 and minus 1, which differ."""
    monkeypatch.setattr(product, "_KEPT_WEIGHTS", 1 << 20 if kept else 0)
    matrix = np.ones((3, 65535), dtype=np.int8)
    matrix[1:, 0], matrix[2, 1] = 0, 0
    q = np.full((2, 65535), -128)
    q[:, :2] = [[-127, -1], [1, 1]]
    assert np.array_equal(TernaryProduct([matrix])(q), ternary_product(matrix, q))


def test_a_fan_in_that_float32_does_not_hold_is_a_bug() -> None:
    TernaryProduct([np.zeros((1, 1 << 17), dtype=np.int8)])
    with pytest.raises(AssertionError, match="float32 would not be exact"):
        TernaryProduct([np.zeros((1, (1 << 17) + 1), dtype=np.int8)])
