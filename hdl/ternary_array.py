"""The ternary array: R rows of C lanes, each row an adder tree and an accumulator."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.adder import add_with_carry
from mmfree.design import Design


class TernaryArray(wiring.Component):
    """acc[r] = sum over the tiles of a block, and over c, of w[r, c] * x[c].

    A lane passes x, its complement, or zero. The +1 that completes a negation enters as the carry of an adder: a tree of C inputs and its accumulator have C
    adders, one for each lane.

    Ports: ``valid``, ``first``, ``last`` (of a block's tiles), ``x`` (C int8), ``w`` (R C codes of 2 bits: 0, 1, 3 for 0, +1, -1; row after row);
    ``o_valid`` and ``o`` (R accumulators), valid for one cycle, ``latency`` = log2(C) + 1 cycles after the last tile.
    One tile per cycle; idle cycles between tiles are allowed; never stalls: the caller has room for the result before it sends a block's last tile.
    After reset, ``o_valid`` is 0.
    """

    def __init__(self, design: Design) -> None:
        self._rows, self._columns = design.rows, design.columns
        self._acc_shape = signed(design.accumulator_bits)
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "x": In(data.ArrayLayout(signed(8), design.columns)),
                "w": In(2 * design.lanes),
                "o_valid": Out(1),
                "o": Out(data.ArrayLayout(self._acc_shape, design.rows)),
            }
        )
        self.latency = (design.columns - 1).bit_length() + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid, first, last = self.valid, self.first, self.last
        for _ in range(self.latency - 1):
            valid, first, last = (_register(m, flag) for flag in (valid, first, last))
        for r in range(self._rows):
            codes = self.w.word_select(r, 2 * self._columns)
            total, carry = self._tree(m, codes)
            accumulator = Signal(self._acc_shape, reset_less=True, name=f"accumulator_{r}")
            kept = Mux(first, 0, accumulator)
            with m.If(valid):
                m.d.sync += accumulator.eq(add_with_carry(kept, total, carry))
            m.d.comb += self.o[r].eq(accumulator)
        m.d.sync += self.o_valid.eq(valid & last)
        return m

    def _tree(self, m: Module, codes: Value) -> tuple[Value, Value]:
        """Sum of a row's lanes, less one pending carry: (registered sum, registered carry)."""
        nodes: list[tuple[Value, Value]] = []
        for c in range(self._columns):
            nonzero, negative = codes[2 * c], codes[2 * c + 1]
            lane = Mux(nonzero, self.x[c] ^ negative.replicate(8).as_signed(), 0)
            nodes.append((lane.as_signed(), nonzero & negative))
        while len(nodes) > 1:
            level = []
            for (left, carry), (right, pending) in zip(nodes[::2], nodes[1::2], strict=True):
                level.append((_register(m, add_with_carry(left, right, carry)), _register(m, pending)))
            nodes = level
        return nodes[0]


def _register(m: Module, value: Value) -> Signal:
    register = Signal(value.shape())
    m.d.sync += register.eq(value)
    return register
