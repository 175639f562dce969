"""The lane's adder: one operand may be negated or left out, in a part's own carry cells."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Const, Instance, Module, Mux, Signal, Value, ValueLike, signed

from hdl.arithmetic.adder import add_with_carry, negate_if
from hdl.arithmetic.carry8 import Position, carry8_sum
from hdl.fabric.technology import Technology

_CARRY_IN, _SUM, _PAIR, _DIFFERENCE = 0x000A, 0x96AA, 0x7888, 0x8777
"""INIT of half a CCU2C, by what it computes.

_CARRY_IN: the carry becomes A. _SUM: A + ((B ^ C) & D). _PAIR: (A & B) + (C & D). _DIFFERENCE: (C &
D) + the complement of (A & B). The lowest four bits, a function of A and B, must give the carry
where the summands are equal.
"""


def gated_sum(
    m: Module,
    technology: Technology,
    a: Value,
    b: Value,
    *,
    bits: int,
    enable: ValueLike = 1,
    negative: ValueLike = 0,
    carry: ValueLike | None = None,
) -> Value:
    """a + (b, or its complement, or nothing) + carry: signed, of ``bits`` bits, combinational.

    ``negative``: b's complement instead of b. ``enable``: 0 leaves b out, ``negative`` or not.
    ``carry``: ``negative`` unless given, which makes the complement a negation. On the ECP5 the sum
    takes half a CCU2C per bit and one half for the carry (all of it fits the cell's LUT4; Yosys
    makes two LUT4 and a carry cell), on the UltraScale+ a LUT6_2 per bit, with CARRY8. Elsewhere it
    is an expression for the synthesizer.
    """
    enable, negative = Value.cast(enable)[0], Value.cast(negative)[0]
    carry = negative if carry is None else Value.cast(carry)[0]
    if technology is Technology.ECP5:
        return _ccu2c_sum(m, a, b, bits, enable, negative, carry)
    if technology is Technology.ULTRASCALE_PLUS:
        return _carry8_sum(m, a, b, bits, enable, negative, carry)
    gated = Mux(enable, negate_if(negative, b), 0).as_signed()
    return add_with_carry(a, gated, carry)[:bits].as_signed()


def gated_pair(
    m: Module, technology: Technology, a: Value, low: Value, high: Value, *, subtract: bool = False
) -> Value:
    """(a if ``low``) + (2 a if ``high``), or minus the latter to ``subtract``: exact and signed.

    Combinational. On the ECP5 it takes half a CCU2C per bit.
    """
    sign = a.shape().signed
    bits = len(a) + 2 + (not sign)
    if technology is not Technology.ECP5:
        lower, upper = Mux(low, a, 0), Mux(high, a, 0) << 1
        total = Signal(signed(bits))
        m.d.comb += total.eq(lower - upper if subtract else lower + upper)
        return total
    once = Signal(signed(bits))
    twice = Signal(signed(bits))
    m.d.comb += [once.eq(a), twice.eq(a << 1)]
    if subtract:
        halves = [_Half(_CARRY_IN, Const(1, 1), _ZERO, _ZERO, _ONE)]
        halves += [_Half(_DIFFERENCE, twice[i], high, once[i], low) for i in range(bits)]
    else:
        halves = [_Half(_PAIR, once[i], low, twice[i], high) for i in range(bits)]
    return _chain(m, halves)[int(subtract) :][:bits].as_signed()


def gated_sums(
    m: Module, technology: Technology, a: Value, takes_a: Value, b: Value, takes_b: Value
) -> Value:
    """(a if ``takes_a``) + (b if ``takes_b``), both unsigned: exact, combinational.

    On the ECP5 it takes half a CCU2C per bit.
    """
    bits = max(len(a), len(b)) + 1
    total = Signal(bits)
    if technology is not Technology.ECP5:
        m.d.comb += total.eq(Mux(takes_a, a, 0) + Mux(takes_b, b, 0))
        return total
    wide_a, wide_b = Signal(bits), Signal(bits)
    m.d.comb += [wide_a.eq(a), wide_b.eq(b)]
    halves = [_Half(_PAIR, wide_a[i], takes_a, wide_b[i], takes_b) for i in range(bits)]
    m.d.comb += total.eq(_chain(m, halves))
    return total


def _ccu2c_sum(
    m: Module, a: Value, b: Value, bits: int, enable: Value, negative: Value, carry: Value
) -> Value:
    wide_a = Signal(bits)
    wide_b = Signal(bits)
    m.d.comb += [wide_a.eq(a), wide_b.eq(b)]
    halves = [_Half(_CARRY_IN, carry, _ZERO, _ZERO, _ONE)]
    halves += [_Half(_SUM, wide_a[i], wide_b[i], negative, enable) for i in range(bits)]
    return _chain(m, halves)[1 : bits + 1].as_signed()


def _carry8_sum(
    m: Module, a: Value, b: Value, bits: int, enable: Value, negative: Value, carry: Value
) -> Value:
    wide_a = Signal(bits)
    wide_b = Signal(bits)
    m.d.comb += [wide_a.eq(a), wide_b.eq(b)]
    positions = [Position((wide_a[i], wide_b[i], negative, enable), _gated) for i in range(bits)]
    return carry8_sum(m, positions, carry).total.as_signed()


def _gated(a: int, b: int, negative: int, enable: int) -> tuple[int, int]:
    return a, (b ^ negative) & enable


class _Half(NamedTuple):
    """Half a CCU2C: what its LUT4 holds, and its inputs."""

    init: int
    a: Value
    b: Value
    c: Value
    d: Value


_ZERO, _ONE = Const(0, 1), Const(1, 1)


def _chain(m: Module, halves: list[_Half]) -> Signal:
    """Sum bits of a carry chain, from the low end up."""
    if len(halves) % 2:
        halves = [*halves, _Half(0, _ZERO, _ZERO, _ZERO, _ZERO)]
    sums = Signal(len(halves))
    carries = Signal(len(halves) // 2 + 1)
    for n, (low, high) in enumerate(zip(halves[::2], halves[1::2], strict=True)):
        m.submodules += Instance(
            "CCU2C",
            p_INIT0=Const(low.init, 16),
            p_INIT1=Const(high.init, 16),
            p_INJECT1_0="NO",
            p_INJECT1_1="NO",
            i_A0=low.a,
            i_B0=low.b,
            i_C0=low.c,
            i_D0=low.d,
            i_A1=high.a,
            i_B1=high.b,
            i_C1=high.c,
            i_D1=high.d,
            i_CIN=carries[n],
            o_COUT=carries[n + 1],
            o_S0=sums[2 * n],
            o_S1=sums[2 * n + 1],
        )
    return sums
