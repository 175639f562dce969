"""RMS norm: from the quantized vector to one multiplier per matrix and a shift."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.product import Product, product_latency
from hdl.arithmetic.square import LATENCY as SQUARE_LATENCY
from hdl.arithmetic.square import Square
from hdl.fabric.pipeline import Timed, delay
from hdl.interface import CurrentSegment, NormScale, Tiles
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from hdl.memory.vectors import word_memory
from hdl.payloads import MULTIPLIER_BITS
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT
from mmfree.chip.memory_map import LoadedShape
from mmfree.contract.pow2 import NORM_EXPONENT_MAX, NORM_EXPONENT_MIN, reciprocal_root_table

SUM_BITS = 30
"""S = sum q^2 <= 65535 * 128^2."""

_ROOT, _ROOT_LATENCY = LoadedShape(8, 256), 2
_ANSWERED = 3 + _ROOT_LATENCY
"""Cycle in which the table has answered, counted from that in which S is complete."""


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


def _scaled(matrix: int) -> int:
    """Cycle in which the product for a matrix is there, likewise."""
    return _ANSWERED + 1 + product_latency(8, 7) + matrix


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
                "scale": Out(NormScale(design)),
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
        m.submodules.root = self.root
        m.submodules.scaler = self.scaler
        wiring.connect(m, wiring.flipped(self.load), self.root.load)
        total, summed = self._sum_of_squares(m)
        # From here on cycles count from that in which S is complete.
        complete = Timed(m, summed, last=_scaled(MATRICES_PER_SEGMENT - 1), reset=True)
        self._look_up(m, Timed(m, total, last=1), complete)
        self._scale(m, complete)
        return m

    def _look_up(self, m: Module, total: Timed, complete: Timed) -> None:
        """Cycles 0 to 2: exponent and index into the table of S; in cycle 3 they are there."""
        # Cycle 0: the exponent. S = 0 counts as 4096.
        register = Signal(range(NORM_EXPONENT_MAX + 1), reset_less=True, name="exponent_now")
        m.d.sync += register.eq(NORM_EXPONENT_MIN)
        for k in range(NORM_EXPONENT_MIN, NORM_EXPONENT_MAX):
            with m.If(total.at(0)[2 * k : 2 * k + 2].any()):
                m.d.sync += register.eq(k)
        exponent = Timed(m, register, first=1, last=3)
        # Cycles 1 and 2: the index, from exponents by pairs, then from one of the pair.
        pair = Signal(10, reset_less=True)
        with m.Switch(exponent.at(1)[1:]):
            for k in range(NORM_EXPONENT_MIN, NORM_EXPONENT_MAX, 2):
                with m.Case(k >> 1):
                    m.d.sync += pair.eq(total.at(1)[2 * k - 6 : 2 * k + 4])
        index = Signal(8, reset_less=True)
        m.d.sync += index.eq(Mux(exponent.at(2)[0], pair[2:], pair[:8]))
        with m.If(~pair[6:].any()):
            m.d.sync += index.eq(64)
        # Cycle 3: the table is asked.
        m.d.comb += self.root.read[0].address.eq(index)
        with m.If(complete.at(3)):
            m.d.sync += self.scale.exponent.eq(exponent.at(3))

    def _scale(self, m: Module, complete: Timed) -> None:
        """The matrices take the one multiplier unit in turn, from cycle _ANSWERED on."""
        root, scaler = self.root.read[0], self.scaler
        # Cycle _ANSWERED: the entry is there; a cycle later, whether its parity is right.
        entry = Signal(8, reset_less=True)
        with m.If(complete.at(_ANSWERED)):
            m.d.sync += entry.eq(root.data)
        m.d.comb += self.parity_error.eq(complete.at(_ANSWERED + 1) & root.parity_error)
        # Cycle _ANSWERED + i: the multiplier of matrix i. A cycle and a product later: its M.
        multiplier = Signal(MULTIPLIER_BITS, reset_less=True)
        m.d.comb += [scaler.a.eq(multiplier), scaler.b.eq(entry), scaler.addend.eq(Const(64))]
        for i in range(MATRICES_PER_SEGMENT):
            with m.If(complete.at(_ANSWERED + i)):
                m.d.sync += multiplier.eq(self.segment.header.multiplier[i])
        for i in range(MATRICES_PER_SEGMENT):
            with m.If(complete.at(_scaled(i))):
                m.d.sync += self.scale.multipliers[i].eq(scaler.o >> 7)
        with m.If(complete.at(_scaled(MATRICES_PER_SEGMENT - 1))):
            m.d.sync += self.scale.done.eq(1)
        with m.If(self.segment.load):
            m.d.sync += self.scale.done.eq(0)

    def _take_up(self, m: Module) -> tuple[Value, Value, Value, Value]:
        """(part of a word, valid, first, last of the vector), two cycles after it is taken up."""
        m.submodules.words = words = word_memory(8 * self._columns, self._words)
        write, read = words.write_port(), words.read_port()
        written = Signal(range(self._words + 1))
        word = Signal(range(self._words + 1))
        following = Signal(range(self._words + 2), init=1)
        begun = Signal()
        part = Signal(range(self.parts))
        complete = Signal()
        taking = Signal()
        last_part = part == self.parts - 1
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
        # Cycle 0: a part is taken up. Cycle 1: its word is read. Cycle 2: the part of it is there.
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
        # A level of the tree of sums in each cycle.
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
