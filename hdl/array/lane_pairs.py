"""A row of the ternary array on the UltraScale+: pairs of lanes, and a tree over them.

A pair takes the eight LUTs of a slice.
"""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Value

from hdl.arithmetic.carry8 import Position, carry8_sum
from hdl.fabric.pipeline import delay


class _Number(NamedTuple):
    """A signed number: its low bits, and a sign bit above them, ``carry`` ^ ``propagate``."""

    low: Value
    carry: Value
    propagate: Value


def row_sum(m: Module, x: list[Value], codes: Value, cycles: int) -> tuple[Value, Value]:
    """(sum of a row's lanes less a pending carry, that carry), ``cycles`` cycles after the inputs.

    ::

        x0 w0 x1 w1 -> [+-] --+--> tree --> until ``cycles`` have passed
        x2 w2 x3 w3 -> [+-] --+
        cycle            0           1 ...

    Of the two +1 that complete the negations of a pair, one is the carry of its own adder, and the
    other waits for an adder of the tree. The adders here take the +1 of C - 1 lanes; the last one
    is the pending carry. ``x``: C int8, a power of two; ``codes``: 2 bits for each. ``cycles``:
    more than log2 C, which the pairs and the tree take.
    """
    nodes: list[tuple[_Number, Value]] = []
    for c in range(0, len(x), 2):
        first, second = codes[2 * c : 2 * c + 2], codes[2 * c + 2 : 2 * c + 4]
        nodes.append((_pair(m, x[c], first, x[c + 1], second), delay(m, second[1], 1)))
    while len(nodes) > 1:
        nodes = [
            (_added(m, left, right, carry), delay(m, pending, 1))
            for (left, carry), (right, pending) in zip(nodes[::2], nodes[1::2], strict=True)
        ]
    ((number, pending),) = nodes
    rest = cycles - (len(x) - 1).bit_length()
    total = delay(m, Cat(number.low, number.carry ^ number.propagate), rest)
    return total.as_signed(), delay(m, pending, rest)


def _pair(m: Module, x0: Value, code0: Value, x1: Value, code1: Value) -> _Number:
    """Sum of two lanes, each x, its complement or zero, and of the first one's +1.

    With both extended by their signs, the sign of the total is the sum of the signs and the last
    carry: it needs no further position.
    """
    weights = (code0[0], code0[1], code1[1], code1[0])
    positions = [Position((x0[i], x1[i], *weights), _lanes) for i in range(len(x0))]
    total, carry, propagate = carry8_sum(m, positions, code0[1])
    return _Number(delay(m, total, 1), delay(m, carry, 1), delay(m, propagate, 1))


def _added(m: Module, left: _Number, right: _Number, carry: Value) -> _Number:
    """Sum of two numbers of equal length and a carry.

    Inverting a number's sign adds half its range and so makes it unsigned; the last carry of the
    sum of two such numbers is the inverted sign of the total.
    """
    positions = [Position((left.low[i], right.low[i]), _bits) for i in range(len(left.low))]
    signs = (left.carry, left.propagate, right.carry, right.propagate)
    total, carry_out, _ = carry8_sum(m, [*positions, Position(signs, _inverted_signs)], carry)
    return _Number(delay(m, total, 1), delay(m, carry_out, 1), Const(1, 1))


def _lanes(
    x0: int, x1: int, nonzero0: int, negative0: int, negative1: int, nonzero1: int
) -> tuple[int, int]:
    return (x0 ^ negative0) & nonzero0, (x1 ^ negative1) & nonzero1


def _bits(a: int, b: int) -> tuple[int, int]:
    return a, b


def _inverted_signs(
    carry_a: int, propagate_a: int, carry_b: int, propagate_b: int
) -> tuple[int, int]:
    return 1 ^ carry_a ^ propagate_a, 1 ^ carry_b ^ propagate_b
