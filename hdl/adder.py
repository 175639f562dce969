"""Adders with a carry input, which completes a negation by complement."""

from __future__ import annotations

from amaranth.hdl import Cat, Value, ValueLike


def add_with_carry(a: ValueLike, b: ValueLike, carry: Value) -> Value:
    """a + b + carry, signed, as one adder: the carry is generated in a spare low position."""
    total = Cat(carry, a).as_signed() + Cat(carry, b).as_signed()
    return total[1:].as_signed()


def negate_if(negative: Value, value: Value) -> Value:
    """``value``, or its complement: with ``negative`` as carry of the adder behind it, its negation."""
    return (value ^ negative.replicate(len(value)).as_signed()).as_signed()
