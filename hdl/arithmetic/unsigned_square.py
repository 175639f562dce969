"""Square of an unsigned integer: half of a shift-and-add product."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.gated_adder import gated_sums
from hdl.arithmetic.product import add_terms
from hdl.fabric.technology import technology_of


def square_latency(bits: int) -> int:
    """Cycles from an integer of ``bits`` bits to its square."""
    return 1 + (-(-bits // 2) - 1).bit_length()


class UnsignedSquare(wiring.Component):
    """o = a * a, by adding for each set bit of a what it contributes with those above it.

    With a = 2 h + b, a^2 = 4 h^2 + b (4 h + 1): of bit i, b (4 h + 1) at weight 2 i. Two of these
    rows are gated and added in the same cells, and a tree of two-input adders adds the pairs.

    Ports::

        a  in   N    the operand
        o  out  2 N  its square, ``square_latency(N)`` cycles later

    A new operand every cycle; never stalls; no reset.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        super().__init__({"a": In(bits), "o": Out(2 * bits)})
        self.latency = square_latency(bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._bits

        def row(bit: int) -> Value:
            return Cat(Const(1, 2), self.a[bit + 1 :])

        # Cycle 0: the rows of two neighbouring bits.
        terms: list[tuple[Value, int]] = []
        for bit in range(bits - 1, -1, -2):
            low = max(bit - 1, 0)
            if low == bit:
                terms.append((row(bit) & self.a[bit].replicate(len(row(bit))), 2 * bit))
                continue
            total = gated_sums(
                m,
                technology_of(platform),
                row(low),
                self.a[low],
                Cat(Const(0, 2), row(bit)),
                self.a[bit],
            )
            terms.append((total, 2 * low))
        # Cycle 1 and on: a level of the tree in each.
        m.d.comb += self.o.eq(add_terms(m, terms))
        return m
