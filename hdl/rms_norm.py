"""RMS norm: from the quantized vector to one multiplier per matrix and a shift."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.loaded_memory import LoadedMemory, load_write
from hdl.pipeline import delay
from hdl.product import Product
from mmfree.design import MATRICES_PER_SEGMENT, LoadedShape
from mmfree.formats import NORM_EXPONENT_MAX, NORM_EXPONENT_MIN, reciprocal_root_table

SUM_BITS = 30
"""S = sum q^2 <= 65535 * 128^2."""

_ROOT = LoadedShape(8, 256)


class RMSNorm(wiring.Component):
    """M[m] = (R * multiplier[m] + 64) >> 7 and k, from S = sum q^2 (docs/arithmetic.md, 6).

    Ports: ``valid``, ``first``, ``last``, ``q`` (C int8): the words of a vector; ``multiplier`` (3 x 9 bits, steady); ``clear``: forget the last result.
    ``done`` rises ``latency`` cycles after the last word, with ``scale`` (3 x 9 bits) and ``exponent`` (k, 6..15), and stays until ``clear``.
    ``load``: of the table; ``wrong``: parity of the entry that was read.
    One word per cycle; never stalls. After reset, ``done`` is 0.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        scales = data.ArrayLayout(unsigned(9), MATRICES_PER_SEGMENT)
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "q": In(data.ArrayLayout(signed(8), columns)),
                "multiplier": In(scales),
                "clear": In(1),
                "done": Out(1),
                "scale": Out(scales),
                "exponent": Out(4),
                "load": In(load_write(_ROOT)),
                "wrong": Out(1),
            }
        )
        self.root = LoadedMemory(
            "reciprocal_root", _ROOT, contents=[int(v) & 0xFF for v in reciprocal_root_table()]
        )
        self.squares = [Product(signed(8), signed(8)) for _ in range(columns)]
        self.scaler = Product(unsigned(9), unsigned(8), addend_bits=7)
        tree_levels = (columns - 1).bit_length()
        self._sum_latency = self.squares[0].latency + tree_levels + 1
        self.latency = self._sum_latency + 2 + MATRICES_PER_SEGMENT + self.scaler.latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.root = root = self.root
        wiring.connect(m, wiring.flipped(self.load), root.load)
        total, last = self._sum_of_squares(m)
        # Cycle 0 after the sum: exponent and table index. S = 0 reads as 4096.
        index = Signal(8, init=64)
        summed = Signal()
        m.d.sync += summed.eq(last)
        with m.If(last):
            m.d.sync += [index.eq(64), self.exponent.eq(NORM_EXPONENT_MIN)]
            for k in range(NORM_EXPONENT_MIN, NORM_EXPONENT_MAX):
                with m.If(total[2 * k : 2 * k + 2].any()):
                    m.d.sync += [index.eq(total[2 * k - 6 : 2 * k + 2]), self.exponent.eq(k)]
        # Cycle 1: table.
        m.d.comb += root.address_0.eq(index)
        # Cycles 2, 3, 4: the matrices take the multiplier unit in turn.
        started = delay(m, summed, 1, reset=True)
        m.d.comb += self.wrong.eq(started & root.wrong_0)
        turn = Signal(range(MATRICES_PER_SEGMENT + 1), init=MATRICES_PER_SEGMENT)
        busy = turn != MATRICES_PER_SEGMENT
        with m.If(started):
            m.d.sync += turn.eq(0)
        with m.Elif(busy):
            m.d.sync += turn.eq(turn + 1)
        m.submodules.scaler = scaler = self.scaler
        multipliers = Array(self.multiplier[i] for i in range(MATRICES_PER_SEGMENT))
        m.d.comb += [
            scaler.a.eq(multipliers[turn]),
            scaler.b.eq(root.data_0),
            scaler.addend.eq(Const(64)),
        ]
        done_turn = delay(m, turn, scaler.latency)
        done_busy = delay(m, busy, scaler.latency, reset=True)
        with m.If(done_busy):
            for i in range(MATRICES_PER_SEGMENT):
                with m.If(done_turn == i):
                    m.d.sync += self.scale[i].eq(scaler.o >> 7)
            with m.If(done_turn == MATRICES_PER_SEGMENT - 1):
                m.d.sync += self.done.eq(1)
        with m.If(self.clear):
            m.d.sync += self.done.eq(0)
        return m

    def _sum_of_squares(self, m: Module) -> tuple[Value, Value]:
        """(S, flag that S is complete in this cycle)."""
        nodes: list[Value] = []
        for c, square in enumerate(self.squares):
            m.submodules[f"square_{c}"] = square
            m.d.comb += [square.a.eq(self.q[c]), square.b.eq(self.q[c])]
            nodes.append(square.o[:15])
        while len(nodes) > 1:
            level: list[Value] = []
            for left, right in zip(nodes[::2], nodes[1::2], strict=True):
                node = Signal(unsigned(len(left) + 1), reset_less=True)
                m.d.sync += node.eq(left + right)
                level.append(node)
            nodes = level
        valid, first, last = (
            delay(m, flag, self._sum_latency - 1, reset=True)
            for flag in (self.valid, self.first, self.last)
        )
        total = Signal(SUM_BITS, reset_less=True)
        with m.If(valid & first):
            m.d.sync += total.eq(nodes[0])
        with m.Elif(valid):
            m.d.sync += total.eq(total + nodes[0])
        return total, delay(m, valid & last, 1, reset=True)
