"""What the norm of a vector is made of (docs/arithmetic_absmax.md, 4, 5, 6 and 8)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mmfree.contract.absmax import CONSTANT_BITS, CUT_BITS, SCALAR_BITS, SQUARE_BITS
from mmfree.golden.cuts import Cut, Wide, bit_length, highest_bits

_BIN_BITS = 2
"""Squares are added in bins of 2^_BIN_BITS exponents, where a sum stays below 2^63."""

_ZERO_EXPONENT = -(1 << 20)
"""Of a scalar 0: below all others."""


class Scalar(NamedTuple):
    """A positive number mantissa * 2^exponent with a mantissa of 31 bits (section 4).

    Arrays of one shape. Mantissa 0: zero.
    """

    mantissa: Wide
    exponent: Wide


def scalar(value: Wide, exponent: Wide | int) -> Scalar:
    """Section 4: value * 2^exponent, the mantissa cut to 31 bits."""
    length = bit_length(value)
    mantissa = highest_bits(value, SCALAR_BITS, length)
    return Scalar(mantissa, np.where(value == 0, _ZERO_EXPONENT, exponent + length - SCALAR_BITS))


def scalar_of_float(value: float) -> Scalar:
    """Section 4: a positive number, the mantissa cut to 31 bits."""
    mantissa, exponent = math.frexp(value)
    whole = math.floor(mantissa * 2**SCALAR_BITS)
    return scalar(np.array(whole, dtype=np.int64), exponent - SCALAR_BITS)


def scalar_of_constant(mantissa: int, exponent: int) -> Scalar:
    """Section 4: a constant of the tape, of 24 bits."""
    return scalar(np.array(mantissa, dtype=np.int64), exponent)


def add(a: Scalar, b: Scalar) -> Scalar:
    """Section 4: the sum; the smaller one is cut to the larger one's last bit."""
    exponent = np.maximum(a.exponent, b.exponent)
    parts = [s.mantissa >> np.minimum(exponent - s.exponent, SCALAR_BITS) for s in (a, b)]
    return scalar(parts[0] + parts[1], exponent)


def multiply(a: Scalar, b: Scalar) -> Scalar:
    """Section 4: the product."""
    return scalar(a.mantissa * b.mantissa, a.exponent + b.exponent)


def sum_of_squares(u: Cut, fraction_bits: int) -> Scalar:
    """Section 5: the sum of the squares of u * 2^-fraction_bits along the last axis."""
    drop = CUT_BITS - SQUARE_BITS
    rounded = (u.mantissa + (1 << drop >> 1)) >> drop
    square = rounded * rounded << 2 * (u.exponent & ((1 << _BIN_BITS) - 1))
    bins = u.exponent >> _BIN_BITS
    top = np.where(u.mantissa == 0, 0, bins).max(axis=-1, keepdims=True)
    total = np.zeros_like(top)
    highest = int(top.max())
    lowest = int(bins.min(where=u.mantissa != 0, initial=highest))
    for number in range(lowest, highest + 1):
        inside = np.where(bins == number, square, 0).sum(axis=-1, keepdims=True)
        total = np.where(number <= top, inside + (total >> (2 << _BIN_BITS)), total)
    weight = (top << _BIN_BITS) + drop - CUT_BITS - fraction_bits
    return scalar(total, 2 * weight)


def reciprocal_root(s: Scalar) -> tuple[Wide, Wide]:
    """Section 6: (R, e) with R * 2^e = 1 / sqrt(s); R in 2^23..2^24."""
    drop = 1 + (s.exponent + 1) % 2
    quotient = (1 << 62) // (s.mantissa >> drop)
    # The radicand stays below 2^49, where a float64 root is exact when floored.
    root = np.floor(np.sqrt((quotient << 14).astype(np.float64))).astype(np.int64)
    return root, -38 - (s.exponent + drop) // 2


def factor(constant: Scalar, root: tuple[Wide, Wide], m: Cut) -> tuple[Wide, Wide]:
    """Section 8: (F, e) with constant * root * m = F * 2^e; F in 2^23..2^24 - 1, 0 where m is."""
    largest = scalar(m.mantissa, m.exponent - CUT_BITS)
    product = multiply(multiply(constant, scalar(*root)), largest)
    drop = SCALAR_BITS - CONSTANT_BITS
    return product.mantissa >> drop, product.exponent + drop
