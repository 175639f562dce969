"""RMS norm: from the quantized vector to one multiplier per matrix and a shift."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.product import Product, product_latency
from hdl.arithmetic.square import LATENCY as SQUARE_LATENCY
from hdl.arithmetic.square import Square
from hdl.fabric.pipeline import delay
from hdl.interface import CurrentSegment, NormScale, Tiles
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from hdl.memory.vectors import word_memory
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT
from mmfree.chip.memory_map import LoadedShape
from mmfree.contract.pow2 import NORM_EXPONENT_MAX, NORM_EXPONENT_MIN, reciprocal_root_table

SUM_BITS = 30
"""S = sum q^2 <= 65535 * 128^2."""

_ROOT, _ROOT_LATENCY = LoadedShape(8, 256), 2


def num_squares(columns: int) -> int:
    """Squares per cycle: a quarter of a word.

    Results of the array can wait for the scale meanwhile (docs/decisions/0012).
    """
    return max(min(columns, 4), columns // 4)


def take_up_parts(columns: int) -> int:
    """Cycles in which a word is squared."""
    return columns // num_squares(columns)


def norm_latency(columns: int) -> int:
    """Cycles from the last part of a vector until its scale is known."""
    return _sum_latency(columns) + 4 + _ROOT_LATENCY + product_latency(8, 7) + MATRICES_PER_SEGMENT


def _sum_latency(columns: int) -> int:
    """Cycles for the word, its part, the squares, their tree and the sum."""
    return 2 + SQUARE_LATENCY + (num_squares(columns) - 1).bit_length() + 1


class RMSNorm(wiring.Component):
    """M[m] = (R * multiplier[m] + 64) >> 7 and k, from S = sum q^2 (docs/arithmetic.md, 6).

    Words are kept as they come, and squared later, a part of num_squares(C) elements per cycle.

    Ports::

        tiles         in   Tiles           the vector, each tile once
        segment       in   CurrentSegment  its multipliers; load: another vector begins
        scale         out  NormScale       from ``latency`` cycles after the last part was taken up
        load          in   LoadWrite       of the table
        parity_error  out  1               of the entry that was read

    A tile is taken up in ``parts`` cycles, the first one cycle after the first tile. One tile per
    cycle; never stalls. After reset the scale is not done.
    """

    def __init__(self, design: Design) -> None:
        self._columns, self._words = design.columns, design.max_tiles
        super().__init__(
            {
                "tiles": In(Tiles(design)),
                "segment": In(CurrentSegment(design)),
                "scale": Out(NormScale()),
                "load": In(LoadWrite(_ROOT)),
                "parity_error": Out(1),
            }
        )
        contents = [_ROOT.with_parity(int(value) & 0xFF) for value in reciprocal_root_table()]
        self.root = LoadedMemory("reciprocal_root", _ROOT, contents=contents)
        self.memories = self.root.memories
        self.squares = [Square() for _ in range(num_squares(design.columns))]
        self.parts = take_up_parts(design.columns)
        self.scaler = Product(unsigned(9), unsigned(8), addend_bits=7)
        # After the sum: exponent, index, table; three turns of the multiplier unit.
        self.latency = norm_latency(design.columns)
        assert (self.root.latency, self.scaler.latency) == (_ROOT_LATENCY, product_latency(8, 7))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.root = root = self.root
        m.submodules.scaler = scaler = self.scaler
        wiring.connect(m, wiring.flipped(self.load), root.load)
        total, summed = self._sum_of_squares(m)
        # Exponent, then table index. S = 0 counts as 4096.
        exponent = Signal(range(NORM_EXPONENT_MAX + 1), reset_less=True)
        m.d.sync += exponent.eq(NORM_EXPONENT_MIN)
        for k in range(NORM_EXPONENT_MIN, NORM_EXPONENT_MAX):
            with m.If(total[2 * k : 2 * k + 2].any()):
                m.d.sync += exponent.eq(k)
        total = delay(m, total, 1)
        # The index in two cycles: exponents by pairs, then one of the pair.
        pair = Signal(10, reset_less=True)
        with m.Switch(exponent[1:]):
            for k in range(NORM_EXPONENT_MIN, NORM_EXPONENT_MAX, 2):
                with m.Case(k >> 1):
                    m.d.sync += pair.eq(total[2 * k - 6 : 2 * k + 4])
        upper = delay(m, exponent[0], 1)
        index = Signal(8, reset_less=True)
        m.d.sync += index.eq(Mux(upper, pair[2:], pair[:8]))
        with m.If(~pair[6:].any()):
            m.d.sync += index.eq(64)
        summed = delay(m, summed, 3, reset=True)
        settled = delay(m, exponent, 2)
        with m.If(summed):
            m.d.sync += self.scale.exponent.eq(settled)
        # The table entry; then the matrices take the one multiplier unit in turn.
        m.d.comb += root.read[0].address.eq(index)
        started = delay(m, summed, root.latency, reset=True)
        m.d.comb += self.parity_error.eq(
            delay(m, started, 1, reset=True) & root.read[0].parity_error
        )
        turns = [started]
        for _ in range(scaler.latency + MATRICES_PER_SEGMENT):
            turns.append(delay(m, turns[-1], 1, reset=True))
        entry = Signal(8, reset_less=True)
        with m.If(started):
            m.d.sync += entry.eq(root.read[0].data)
        multiplier = Signal(9, reset_less=True)
        for i in range(MATRICES_PER_SEGMENT):
            with m.If(turns[i]):
                m.d.sync += multiplier.eq(self.segment.header.multiplier[i])
        m.d.comb += [scaler.a.eq(multiplier), scaler.b.eq(entry), scaler.addend.eq(Const(64))]
        for i in range(MATRICES_PER_SEGMENT):
            with m.If(turns[scaler.latency + 1 + i]):
                m.d.sync += self.scale.multipliers[i].eq(scaler.o >> 7)
        with m.If(turns[-1]):
            m.d.sync += self.scale.done.eq(1)
        with m.If(self.segment.load):
            m.d.sync += self.scale.done.eq(0)
        return m

    def _take_up(self, m: Module) -> tuple[Value, Value, Value, Value]:
        """(part of a word, valid, first, last of the vector), two cycles after it is taken up."""
        m.submodules.words = words = word_memory(8 * self._columns, self._words)
        write, read = words.write_port(), words.read_port()
        written, word = Signal(range(self._words + 1)), Signal(range(self._words + 1))
        following, begun = Signal(range(self._words + 2), init=1), Signal()
        part, complete = Signal(range(self.parts)), Signal()
        taking, last_part = Signal(), part == self.parts - 1
        m.d.comb += [
            taking.eq(word != written),
            write.addr.eq(written),
            write.data.eq(self.tiles.x.as_value()),
            write.en.eq(self.tiles.beat.valid),
            read.addr.eq(word),
        ]
        with m.If(taking):
            m.d.sync += [part.eq(part + 1), begun.eq(1)]
            with m.If(last_part):
                m.d.sync += [part.eq(0), word.eq(following), following.eq(following + 1)]
        with m.If(self.tiles.beat.valid):
            m.d.sync += [written.eq(written + 1), complete.eq(self.tiles.beat.last)]
        with m.If(self.segment.load):
            m.d.sync += [written.eq(0), word.eq(0), following.eq(1), part.eq(0), begun.eq(0)]
        first = taking & ~begun
        last = taking & last_part & complete & (following == written)
        valid, first, last = (delay(m, flag, 2, reset=True) for flag in (taking, first, last))
        bits = 8 * len(self.squares)
        parts = Array(read.data[n : n + bits] for n in range(0, len(read.data), bits))
        taken = Signal(bits, reset_less=True)
        m.d.sync += taken.eq(parts[delay(m, part, 1)])
        return taken, valid, first, last

    def _sum_of_squares(self, m: Module) -> tuple[Value, Value]:
        """(S, flag that S is complete in this cycle)."""
        taken, valid, first, last = self._take_up(m)
        nodes: list[Value] = []
        for c, square in enumerate(self.squares):
            m.submodules[f"square_{c}"] = square
            m.d.comb += square.a.eq(taken[8 * c : 8 * c + 8].as_signed())
            nodes.append(square.o)
        while len(nodes) > 1:
            level: list[Value] = []
            for left, right in zip(nodes[::2], nodes[1::2], strict=True):
                node = Signal(unsigned(len(left) + 1), reset_less=True)
                m.d.sync += node.eq(left + right)
                level.append(node)
            nodes = level
        rest = _sum_latency(self._columns) - 3
        valid, first, last = (delay(m, flag, rest, reset=True) for flag in (valid, first, last))
        total = Signal(SUM_BITS, reset_less=True)
        with m.If(valid & first):
            m.d.sync += total.eq(nodes[0])
        with m.Elif(valid):
            m.d.sync += total.eq(total + nodes[0])
        return total, delay(m, valid & last, 1, reset=True)
