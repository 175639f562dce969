"""Reciprocal root: a quotient and its root, a bit at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.gated_adder import gated_sum
from hdl.fabric.technology import technology_of

DIVISOR_BITS = 30
_QUOTIENT_BITS, ROOT_BITS = 35, 25

LATENCY = 2 * ROOT_BITS + 1
"""Cycles from ``start`` to the root."""


class ReciprocalRoot(wiring.Component):
    """floor(sqrt(floor(2^62 / divisor) * 2^14)) of a divisor of 29 or 30 bits.

    Both without restoring: where a rest is negative, the next bit's amount is added to it in place
    of being subtracted. The quotient comes from its highest bit down, a bit in each cycle, and the
    root, a bit in every other cycle, takes it two bits at a time as it comes
    (docs/arithmetic_absmax.md, 6).

    Ports::

        divisor  in   30  2^28 and more; stable for LATENCY - 1 cycles from after start on
        start    in   1   begin
        root     out  25  2^23..2^24, LATENCY = 51 cycles after start, until the next

    One root at a time; a start during another ends that one. After reset nothing is in progress.
    """

    def __init__(self) -> None:
        super().__init__({"divisor": In(DIVISOR_BITS), "start": In(1), "root": Out(ROOT_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology = technology_of(platform)
        left = Signal(range(2 * ROOT_BITS + 1))
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        # The next bit of the quotient, as long as there is one; 2^34 is the first. Before that one
        # the dividend's first bit is the rest.
        rest = Signal(signed(DIVISOR_BITS + 1))
        rest_sum = gated_sum(
            m,
            technology,
            Cat(Const(0, 1), rest[:-1]),
            Cat(self.divisor, Const(0, 1)),
            bits=len(rest),
            negative=~rest[-1],
        )
        bits = Signal(2)
        in_quotient = left > 2 * ROOT_BITS - _QUOTIENT_BITS
        m.d.sync += [rest.eq(rest_sum), bits.eq(Cat(~rest_sum[-1] & in_quotient, bits[0]))]
        # A bit of the root r: with 4 r + 1 the rest goes down, with 4 r + 3 up again.
        root_rest = Signal(signed(ROOT_BITS + 3))
        up = root_rest[-1]
        root_sum = gated_sum(
            m,
            technology,
            Cat(bits, root_rest[:-2]),
            Cat(Const(1, 1), up, self.root, Const(0, 1)),
            bits=len(root_rest),
            negative=~up,
        )
        with m.If(left[0]):
            m.d.sync += [root_rest.eq(root_sum), self.root.eq(Cat(~root_sum[-1], self.root[:-1]))]
        with m.If(self.start):
            m.d.sync += [
                left.eq(2 * ROOT_BITS),
                rest.eq(1 << DIVISOR_BITS - 3),
                bits.eq(0),
                root_rest.eq(0),
                self.root.eq(0),
            ]
        return m
