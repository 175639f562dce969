"""Steps of the fast player where they are hard: ties, carries, sums on the edge of what is kept.

A model meets these once in millions of elements, so each has its numbers here.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mmfree.golden.cuts import Cut, cut, largest, quantize
from mmfree.golden.scalars import sum_of_squares
from mmfree.inference.native.library import PATHS, load_library, paths_here

HERE = [PATHS.index(path) for path in paths_here()]


def floats(values: Cut) -> NDArray[np.float64]:
    """Cut numbers as the library has them."""
    magnitude = np.ldexp(values.mantissa.astype(np.float64), values.exponent - 28)
    return np.where(values.negative, -magnitude, magnitude)


def of(array: NDArray[np.generic]) -> int:
    return array.ctypes.data


def test_products_are_cut_not_rounded() -> None:
    """Of 63 bits: those whose highest 28 are followed by ones round up in float64."""
    rng = np.random.default_rng(1)
    gate = rng.integers(1 << 24, 1 << 31, 4000)
    # As near below a number of 28 bits as a multiple of the gate is.
    edge = ((rng.integers(1 << 27, 1 << 28, 4000) << 28) // gate).clip(1, (1 << 31) - 1)
    near = (((1 << 27) + np.arange(500)) << 33) // ((1 << 30) + 1 + 2 * np.arange(500))
    up = np.concatenate([edge, near]) * rng.choice([-1, 1], 4500)
    gate = np.concatenate([gate, (1 << 30) + 1 + 2 * np.arange(500)])
    # Just below a power of two: all of the highest bits are ones.
    ones = np.arange(1, 1000)
    gate, up = (
        np.concatenate([gate, (1 << 31) - ones]).astype(np.int32),
        np.concatenate([up, (1 << 30) + ones // 2 - 1 + ones % 2]).astype(np.int32),
    )
    product = gate.astype(np.int64) * up
    expected = floats(cut(product))
    length = np.frexp(np.abs(product).astype(np.float64))[1]
    assert (length != cut(product).exponent).any(), "float64 rounds some up to a power of two"
    for path in HERE:
        w = np.empty(len(gate))
        load_library().mmfree_try_glu(path, of(gate), of(up), len(gate), of(w))
        assert w.tolist() == expected.tolist(), PATHS[path]


@pytest.mark.parametrize("seed", range(4))
def test_halves_are_rounded_away_from_zero(seed: int) -> None:
    """Every tie of a largest that 254 divides, and of others whose 127th part is no float64."""
    rng = np.random.default_rng(seed)
    for part in (3, 7, 4227, 528_407, 1_045_592, 1_045_602):
        big = 254 * part
        values = np.concatenate(
            [[big], part * np.arange(1, 254, 2), part * np.arange(1, 254, 2) - 1, [0, 1]]
        ) * rng.choice([-1, 1], 257)
        w = cut(values.astype(np.int64))
        expected = quantize(w, largest(w))
        for path in HERE:
            q, elements = np.empty(257, dtype=np.int8), floats(w)
            ones = np.ones(257, dtype=np.int32)
            found = load_library().mmfree_try_quantize(path, of(elements), of(ones), 257, of(q))
            assert q.tolist() == expected.tolist(), f"{PATHS[path]}, {big}"
            assert found == expected.sum()


def test_sums_are_exact_to_their_last_bit() -> None:
    """A sum that float64 rounds to the next number of 31 bits, sums of far apart elements, none."""
    big = (1 << 18) - 1
    small = [1 << 4] * 40
    vectors = [
        # 2^36 * 2^20 less a little: the little is lost one by one.
        [big << 20, *[1 << 10] * 300],
        [1 << 40, *small],
        [1 << 60, 1],
        [0, 0, 0],
        [3, -4],
        [(1 << 18) + 1],
        *(_just_below(bits) for bits in (30, 31, 40, 50)),
    ]
    for vector in vectors:
        w = cut(np.array(vector, dtype=np.int64))
        expected = sum_of_squares(w, 0)
        for path in HERE:
            found, elements = np.empty(2, dtype=np.int64), floats(w)
            load_library().mmfree_try_sum(path, of(elements), len(vector), of(found))
            assert found[0] == expected.mantissa[0], f"{PATHS[path]}: {vector[:3]}"
            if found[0]:
                assert found[1] == expected.exponent[0]


def _just_below(bits: int) -> list[int]:
    """Elements whose squares sum to one unit less than a number of 31 bits, 2^(2 bits - 30) high.

    Greedily: the largest square that is left, and so on; each root has at most 18 bits.
    """
    left, found = (1 << 2 * bits) - 1, []
    while left:
        root = int(np.sqrt(float(left)))
        while root * root > left:
            root -= 1
        root = root >> max(0, root.bit_length() - 18) << max(0, root.bit_length() - 18)
        found.append(root)
        left -= root * root
    return found
