"""Square of an int8: half of a shift-and-add product."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay

LATENCY = 3


class Square(wiring.Component):
    """o = a * a for an int8, by additions.

    Partial products a_i a_j 2^(i + j) of a's absolute value with i and j exchanged are equal, and
    a_i a_i = a_i: 21 pairs at twice their weight and 7 single bits are left, in four rows that two
    levels of adders sum. The square of -128 has a separate bit.

    Ports::

        a  in   int8  the operand
        o  out  15    its square, 0..16384, latency cycles later

    The latency is 3. A new operand every cycle; never stalls; no reset.
    """

    def __init__(self) -> None:
        super().__init__({"a": In(signed(8)), "o": Out(15)})
        self.latency = LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 0: absolute value, 0..128.
        a = Signal(8, reset_less=True)
        m.d.sync += a.eq((self.a ^ self.a[7].replicate(8)).as_unsigned() + self.a[7])

        def pairs(first: int, second: int) -> Value:
            return a[first] & a[second]

        zero = Const(0, 1)
        # Cycle 1: rows of bits of rising weight, from 2^0: each holds one product per weight.
        # fmt: off
        rows = [
            [a[0], zero, a[1], pairs(0, 2), a[2], pairs(0, 4),
             a[3], pairs(0, 6), a[4], pairs(2, 6), a[5], pairs(4, 6), a[6]],
            [zero, zero, pairs(0, 1), zero, pairs(0, 3), pairs(1, 3),
             pairs(0, 5), pairs(1, 5), pairs(1, 6), pairs(3, 5), pairs(3, 6), zero, pairs(5, 6)],
            [zero, zero, zero, zero, pairs(1, 2), zero,
             pairs(1, 4), pairs(2, 4), pairs(2, 5), zero, pairs(4, 5)],
            [zero, zero, zero, zero, zero, zero, pairs(2, 3), zero, pairs(3, 4)],
        ]
        # fmt: on
        sums = []
        for upper, lower in (rows[:2], rows[2:]):
            total = Signal(14, reset_less=True)
            m.d.sync += total.eq(Cat(*upper) + Cat(*lower))
            sums.append(total)
        # Cycle 2: their sum.
        total = Signal(14, reset_less=True)
        m.d.sync += total.eq(sums[0] + sums[1])
        m.d.comb += self.o.eq(Cat(total, delay(m, a[7], 2)))
        return m
