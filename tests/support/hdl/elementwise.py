"""Elementwise functions of docs/arithmetic_absmax.md, 3, 9 and 10, in Python's integers."""

from __future__ import annotations

from collections.abc import Sequence

ONE = 1 << 24
"""1 as a sigmoid."""

FORGET_ONE = 1 << 20
"""1 as f, a lower bound, or 1 - f."""

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1

Table = Sequence[tuple[int, int]]
"""Value and rise of each word of the sigmoid."""

WILD_Z = [
    *(sign * (at + off) for at in (0, 1 << 12, 1 << 20, 1 << 24, 1 << 30)
      for off in (-1, 0, 1) for sign in (1, -1)),
    (4095 << 12) + 4095, -(4095 << 12) - 4095, INT32_MIN, INT32_MIN + 1, INT32_MAX,
]  # fmt: skip
"""Values at which something changes: words of the table, its end, the limits of int32."""


def rnd(p: int, n: int) -> int:
    """p * 2^-n, halves up."""
    return p if n == 0 else (p + (1 << n - 1)) >> n


def sigmoid(z: int, table: Table) -> int:
    """With 24 fraction bits, of z with 20."""
    a = abs(z)
    if a >= 1 << 24:
        y = ONE
    else:
        value, rise = table[a >> 12]
        y = value + rnd(rise * (a & 0xFFF), 12)
    return ONE - y if z < 0 else y


def silu(x: int, table: Table) -> int:
    return rnd(x * sigmoid(x, table), 24)


def forget(z: int, bound: int, table: Table) -> int:
    """f above its lower bound."""
    return bound + rnd((FORGET_ONE - bound) * sigmoid(z, table), 24)


def next_state(f: int, c: int, h: int) -> int:
    return h + rnd((FORGET_ONE - f) * (c - h), 20)


def cut(v: int) -> dict[str, int]:
    """The fields of a CUT."""
    length = abs(v).bit_length()
    mantissa = abs(v) >> length - 28 if length > 28 else abs(v) << 28 - length
    return {"mantissa": mantissa, "exponent": length, "negative": int(v < 0)}


def packed(v: int) -> int:
    """A CUT as one integer."""
    fields = cut(v)
    return fields["negative"] << 35 | fields["exponent"] << 28 | fields["mantissa"]


def clamp(v: int) -> int:
    return max(INT32_MIN, min(INT32_MAX, v))
