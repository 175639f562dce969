"""Quantizer: 16-bit values to int8 by a shift common to the vector."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mmfree.formats import INT8_MAX

LATENCY = 2


class Quantizer(wiring.Component):
    """q = sat_8(((u << shift) + 128) >> 8) for C elements at a time (docs/arithmetic.md, 5).

    Ports: ``u`` (C int16), ``keep`` (C flags: an element that is not kept gives 0), ``shift`` (15 - b, steady while words are under way); ``q`` (C int8) and
    ``saturated`` (C flags), LATENCY = 2 cycles later. One word per cycle; never stalls; no reset.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        super().__init__(
            {
                "u": In(data.ArrayLayout(signed(16), columns)),
                "keep": In(columns),
                "shift": In(4),
                "q": Out(data.ArrayLayout(signed(8), columns)),
                "saturated": Out(columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for c in range(self._columns):
            # Cycle 0: shift. No set bit is lost: u << shift fits 16 bits by the choice of shift.
            shifted = Signal(signed(16), reset_less=True, name=f"shifted_{c}")
            kept = Mux(self.keep[c], self.u[c], 0).as_signed()
            m.d.sync += shifted.eq(kept << self.shift)
            # Cycle 1: round halves up; only 127.5 and more can leave the range.
            rounded = (shifted[7:].as_signed() + 1) >> 1
            over = rounded > INT8_MAX
            m.d.sync += [
                self.q[c].eq(Mux(over, INT8_MAX, rounded)),
                self.saturated[c].eq(over),
            ]
        return m


def magnitude(values: list[Value], keep: list[Value]) -> Value:
    """OR over the kept int16 values of u ^ (u >> 15): 15 bits whose bit length is the vector's b."""
    folded = [Mux(k, u[:15] ^ u[15].replicate(15), 0) for u, k in zip(values, keep, strict=True)]
    return reduce(or_, folded)


def quantizer_shift(m: Module, size: Value) -> Signal:
    """15 - bitlen(size), combinational, for a 15-bit ``size``."""
    shift = Signal(unsigned(4), name="quantizer_shift", init=15)
    m.d.comb += shift.eq(15)
    for bit in range(15):
        with m.If(size[bit]):
            m.d.comb += shift.eq(14 - bit)
    return shift
