"""Quantizer: 16-bit values to int8 by a shift common to the vector."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import REACH, copies, num_copies
from hdl.fabric.technology import technology_of
from mmfree.contract.pow2 import INT8_MAX

LATENCY = 3


class Quantizer(wiring.Component):
    """q = sat_8(((u << shift) + 128) >> 8) for C elements at a time (docs/arithmetic.md, 5).

    Ports::

        u          in   C x int16  values of a vector
        shift      in   4          15 - b, stable from a cycle before the vector's first word
        q          out  C x int8   LATENCY = 3 cycles after u
        saturated  out  C          flags: an element was clamped; with q

    One word per cycle; never stalls; no reset.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        super().__init__(
            {
                "u": In(data.ArrayLayout(signed(16), columns)),
                "shift": In(4),
                "q": Out(data.ArrayLayout(signed(8), columns)),
                "saturated": Out(columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology = technology_of(platform)
        coarse_shifts = copies(m, technology, self.shift[2:], num_copies(self._columns))
        fine_shifts = copies(m, technology, self.shift[:2], num_copies(self._columns))
        for c in range(self._columns):
            # Bits 7 to 15 of u << shift are needed; by the choice of shift no significant bit is
            # above them. Cycle 0: shift by a multiple of 4, and keep three lower bits, which the
            # next cycle may shift up.
            coarse = Signal(12, reset_less=True, name=f"coarse_{c}")
            padded = Cat(Const(0, 12), self.u[c])
            with m.Switch(coarse_shifts[c // REACH]):
                for fours in range(4):
                    with m.Case(fours):
                        m.d.sync += coarse.eq(padded[16 - 4 * fours : 28 - 4 * fours])
            # Cycle 1: shift by 0 to 3.
            fine = Signal(9, reset_less=True, name=f"fine_{c}")
            with m.Switch(fine_shifts[c // REACH]):
                for ones in range(4):
                    with m.Case(ones):
                        m.d.sync += fine.eq(coarse[3 - ones : 12 - ones])
            # Cycle 2: round halves up; only 127.5 and more can exceed the range.
            over = fine == INT8_MAX * 2 + 1
            m.d.sync += [
                self.q[c].eq(fine[1:].as_signed() + (fine[0] & ~over)),
                self.saturated[c].eq(over),
            ]
        return m


def magnitude(values: list[Value], keep: list[Value]) -> Value:
    """OR of u ^ (u >> 15) over the kept int16 values: its bit length is the vector's b."""
    folded = [Mux(k, u[:15] ^ u[15].replicate(15), 0) for u, k in zip(values, keep, strict=True)]
    return reduce(or_, folded)


def bit_length(m: Module, size: Value) -> Signal:
    """Bit length of a 15-bit ``size``, combinational."""
    length = Signal(unsigned(4))
    for bit in range(15):
        with m.If(size[bit]):
            m.d.comb += length.eq(bit + 1)
    return length
