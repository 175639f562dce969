"""Sums with a carry, negation by complement, and sums of flags, against plain arithmetic."""

from __future__ import annotations

from functools import reduce
from operator import add

from amaranth.hdl import Const, Mux, signed

from hdl.arithmetic.adder import add_with_carry, count_ones, negate_if, sum_of
from tests.support.proofs.bench import Bench, Proof


def sums() -> Bench:
    """At the widths of the accumulator and of a table's entries, and of mixed signs."""
    bench = Bench()
    a, b, small = (bench.any(signed(n), name) for n, name in ((17, "a"), (16, "b"), (3, "small")))
    carry, negative = bench.any(1, "carry"), bench.any(1, "negative")
    bench.prove("a + b + carry", add_with_carry(a, b, carry) == a + b + carry)
    bench.prove("a narrow operand", add_with_carry(small, a, carry) == small + a + carry)
    difference = add_with_carry(a, negate_if(negative, b), negative)
    bench.prove(
        "a complement and its carry: a difference", difference == Mux(negative, a - b, a + b)
    )
    negated = add_with_carry(Const(0, signed(17)), negate_if(negative, b), negative)
    bench.prove("of nothing: a negation, of the least value too", negated == Mux(negative, -b, b))
    bench.cover("the least sum", add_with_carry(a, b, carry) == -(1 << 16) - (1 << 15))
    return bench


def counts() -> Bench:
    """Of flags that are not a power of two in number, and of values of mixed widths."""
    bench = Bench()
    for width in (1, 5, 16):
        flags = bench.any(width, f"flags_{width}")
        expected = reduce(add, (flags[n] for n in range(width)))
        bench.prove(f"{width} flags: how many are set", count_ones(flags) == expected)
    values = [bench.any(width, f"value_{n}") for n, width in enumerate((4, 1, 7, 4, 3))]
    bench.prove("a sum of five values", sum_of(values) == reduce(add, values))
    bench.cover("the largest", sum_of(values) == 15 + 1 + 127 + 15 + 7)
    return bench


PROOFS = [
    Proof("adder_sums", sums, depth=1, reach=1, quick=True),
    Proof("adder_counts", counts, depth=1, reach=1),
]
