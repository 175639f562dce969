"""Adders with a carry input, which completes a negation by complement, and sums of flags."""

from __future__ import annotations

from amaranth.hdl import Cat, Value, ValueLike


def add_with_carry(a: ValueLike, b: ValueLike, carry: Value) -> Value:
    """a + b + carry, signed, as one adder: the carry is generated in a spare low position."""
    total = Cat(carry, a).as_signed() + Cat(carry, b).as_signed()
    return total[1:].as_signed()


def negate_if(negative: Value, value: Value) -> Value:
    """``value``, or its complement if ``negative``.

    An adder that takes ``negative`` as its carry makes the complement a negation.
    """
    return (value ^ negative.replicate(len(value)).as_signed()).as_signed()


def count_ones(flags: Value) -> Value:
    """Number of set bits, as a balanced sum."""
    return sum_of([flags[i] for i in range(len(flags))])


def sum_of(values: list[Value]) -> Value:
    """Sum of unsigned values, balanced."""
    nodes = list(values)
    while len(nodes) > 1:
        pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
        nodes = [pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
    return nodes[0]
