"""Elements of vectors as cut numbers, and their activations (docs/arithmetic_absmax.md, 3 and 7).

A cut number is +-mantissa * 2^(exponent - 28) with a mantissa of 28 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import CUT_BITS, CUT_EXPONENT_BITS

Wide = NDArray[np.int64]


class Cut(NamedTuple):
    """Cut numbers: arrays of one shape.

    ``mantissa`` 2^27..2^28 - 1 or 0; ``exponent`` the bit length of the magnitude, 0 for 0.
    """

    mantissa: Wide
    exponent: Wide
    negative: NDArray[np.bool_]

    def packed(self) -> Wide:
        """Each as one integer: sign, exponent, mantissa, the last in the low 28 bits."""
        high = self.negative.astype(np.int64) << CUT_EXPONENT_BITS | self.exponent
        return high << CUT_BITS | self.mantissa


def bit_length(x: Wide) -> Wide:
    """Bit length of integers 0 <= x < 2^63."""
    high = x >> 31
    part = np.where(high > 0, high, x)
    return np.frexp(part.astype(np.float64))[1].astype(np.int64) + np.where(high > 0, 31, 0)


def highest_bits(values: Wide, bits: int, length: Wide) -> Wide:
    """The ``bits`` highest bits of integers of bit length ``length``; 0 of 0."""
    right, left = np.maximum(length - bits, 0), np.maximum(bits - length, 0)
    return (values >> right) << np.where(values == 0, 0, left)


def cut(values: Wide) -> Cut:
    """Section 3: integers within +-(2^63 - 1), cut."""
    magnitude = np.abs(values)
    length = bit_length(magnitude)
    return Cut(highest_bits(magnitude, CUT_BITS, length), length, values < 0)


def apply_gain(x: Cut, gain: Wide) -> Cut:
    """Section 3: cut(x * gain) of gains of up to 24 bits."""
    product = x.mantissa * np.abs(gain)
    length = bit_length(product)
    zero = product == 0
    return Cut(
        highest_bits(product, CUT_BITS, length),
        np.where(zero, 0, x.exponent + length - CUT_BITS),
        (x.negative ^ (gain < 0)) & ~zero,
    )


def largest(v: Cut) -> Cut:
    """Section 7: the largest magnitude along the last axis, kept as an axis."""
    key = (v.exponent << CUT_BITS | v.mantissa).max(axis=-1, keepdims=True)
    return Cut(key & ((1 << CUT_BITS) - 1), key >> CUT_BITS, np.zeros(key.shape, dtype=bool))


def quantize(v: Cut, m: Cut) -> Wide:
    """Section 7: q = 127 v / m with halves away from zero, v aligned to m; 0 where m is."""
    aligned = v.mantissa >> np.minimum(m.exponent - v.exponent, CUT_BITS)
    magnitude = (254 * aligned + m.mantissa) // np.maximum(2 * m.mantissa, 1)
    quotient: NDArray[Any] = np.where(v.negative, -magnitude, magnitude)
    return quotient
