"""Sums in the UltraScale+'s own cells: a LUT6_2 for each bit, and CARRY8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from amaranth.hdl import Const, Instance, Module, Signal, Value

from mmfree.errors import InputError

Summands = Callable[..., tuple[int, int]]
"""Both bits that a position adds, as a function of its inputs."""

_MOST_INPUTS, _CELL_BITS = 6, 8


class Position(NamedTuple):
    """A position of a sum: at most six inputs, and the two summand bits that they make.

    Of six inputs, the last must gate the second summand: 0 makes it 0.
    """

    inputs: tuple[Value, ...]
    summands: Summands


class Sum(NamedTuple):
    """What a chain of positions gives.

    ``total``: a bit per position. ``carry``: out of the last position. ``propagate``: whether the
    last position's summands differ.
    """

    total: Value
    carry: Value
    propagate: Value


def carry8_sum(m: Module, positions: Sequence[Position], carry: Value) -> Sum:
    """Sum of all positions, the lowest first, and of a carry: combinational.

    Raises
    ------
    InputError
        If a position has more inputs than a LUT6_2, or six of which the last does not gate the
        second summand.
    """
    padded = -(-len(positions) // _CELL_BITS) * _CELL_BITS
    propagate = Signal(padded)
    generate = Signal(padded)
    for n, position in enumerate(positions):
        m.submodules += _lut(position, propagate[n], generate[n])
    sums = Signal(padded)
    carries = Signal(padded)
    for low in range(0, padded, _CELL_BITS):
        part = slice(low, low + _CELL_BITS)
        m.submodules += Instance(
            "CARRY8",
            p_CARRY_TYPE="SINGLE_CY8",
            i_CI=carries[low - 1] if low else carry,
            i_CI_TOP=Const(0, 1),
            i_DI=generate[part],
            i_S=propagate[part],
            o_O=sums[part],
            o_CO=carries[part],
        )
    last = len(positions) - 1
    return Sum(sums[: last + 1], carries[last], propagate[last])


def _lut(position: Position, propagate: Value, generate: Value) -> Instance:
    inputs = position.inputs
    # O6 is the upper half of the table where I5 is 1, and the lower half, which O5 always is, where
    # I5 is 0.
    if len(inputs) < _MOST_INPUTS:
        inputs += (Const(0, 1),) * (_MOST_INPUTS - 1 - len(inputs)) + (Const(1, 1),)
    return Instance(
        "LUT6_2",
        p_INIT=Const(_table(position.summands, len(position.inputs)), 64),
        **{f"i_I{k}": value for k, value in enumerate(inputs)},
        o_O5=generate,
        o_O6=propagate,
    )


@cache
def _table(summands: Summands, num_inputs: int) -> int:
    """INIT of a LUT6_2: O6 tells whether the summands differ, O5 is the first of them.

    Where the summands do not differ, O5 is the carry.
    """
    if num_inputs > _MOST_INPUTS:
        raise InputError(f"a position of a sum has at most {_MOST_INPUTS} inputs, not {num_inputs}")
    table = 0
    for n in range(64):
        a, b = summands(*(n >> k & 1 for k in range(num_inputs)))
        upper = n >= 32
        if num_inputs == _MOST_INPUTS and b and not upper:
            raise InputError(
                "the last of six inputs must gate the second summand: 0 must make it 0"
            )
        table |= (a ^ b if upper else a) << n
    return table
