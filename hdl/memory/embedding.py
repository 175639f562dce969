"""Embedding: the row of a token becomes the residual vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import CurrentSegment, EmbeddingRow, GroupWrite
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from hdl.payloads import EARLY, vector_groups
from mmfree.chip.design import Design
from mmfree.chip.memory_map import SCALE_BITS, loaded_shape, row_words

WORD_LATENCY = 5


class Expand(Protocol):
    """Makes values of the residual's format of P elements of int8."""

    cycles: int
    """From the elements to the values."""

    def __call__(
        self, m: Module, elements: list[Value], values: Any, segment: Any, scale: Value
    ) -> None:
        """``values``: of a GroupWrite, which this drives. ``scale``: of the row, in absmax."""


def ending(design: Design) -> int:
    """Cycles from an embedding's ``vector_done`` to its last write.

    In pow2 the residual's writer, which passes the values on, takes a cycle more; in absmax the
    flag belongs to the write.
    """
    return EARLY - 1 if design.arithmetic == "pow2" else 0


def block_latency(expand: Expand) -> int:
    """Cycles from the order of a row to its first write, from block RAM; in absmax one more."""
    return 1 + WORD_LATENCY + 1 + expand.cycles


class Embedding(wiring.Component):
    """Rows of int8, expanded to the residual's format (docs/arithmetic.md, 4), P elements per
    cycle.

    In absmax a row begins with a word that holds its scale, and P elements leave in 2^``turns``
    cycles (docs/arithmetic_absmax.md, 2).

    Ports::

        row           in   EmbeddingRow    the order to read a row
        segment       in   CurrentSegment  of the embedding: words of a row, and its shift
        write         out  GroupWrite      the row, 0 beyond its end, from ``latency`` cycles on
        vector_done   out  1               ``ending`` cycles before the last write
        load          in   LoadWrite       of the rows
        parity_error  out  1               of a word that was read

    A row at a time; never stalls. After reset nothing is written.

    Parameters
    ----------
    contents
        Words from the start.
    expand
        Makes the values; None: that of pow2.
    """

    def __init__(
        self, design: Design, contents: Sequence[int] = (), *, expand: Expand | None = None
    ) -> None:
        self._design, self._expand = design, expand or ShiftUp()
        shape = loaded_shape(design, "embedding")
        self.words = LoadedMemory("embedding", shape, fabric_registers=True, contents=contents)
        self.memories = self.words.memories
        self._scaled = design.arithmetic == "absmax"
        self.latency = block_latency(self._expand) + self._scaled
        self.ending = ending(design)
        assert self.words.latency == WORD_LATENCY
        super().__init__(
            {
                "row": In(EmbeddingRow(design)),
                "segment": In(CurrentSegment(design)),
                "write": Out(GroupWrite(design, vector_groups(design, design.embedding_tiles))),
                "vector_done": Out(1),
                "load": In(LoadWrite(shape)),
                "parity_error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design = self._design
        rows, columns, width = design.embedding_rows, design.columns, design.post_width
        header, write = self.segment.header, self.write
        m.submodules.memory = words = self.words
        # A register: the load port is far from block RAMs all over a chip, and the way to their
        # write enables limited the clock (docs/log.md).
        m.d.comb += [
            words.load.enable.eq(delay(m, self.load.enable, 1, reset=True)),
            words.load.word.eq(delay(m, self.load.word, 1)),
            words.load.part.eq(delay(m, self.load.part, 1)),
            words.load.data.eq(delay(m, self.load.data, 1)),
        ]
        # Cycle 1 on: in absmax the scale, then the groups of a word in turn. Word t of row v is at
        # t * rows + v: the address steps by the number of rows, which needs no product
        # (docs/decisions/0003).
        address = Signal(range(rows * row_words(design) + rows))
        group = Signal.like(write.group)
        left = Signal.like(header.tiles)
        busy = Signal()
        scaling = Signal()
        parts = columns // width
        part = group[: (parts - 1).bit_length()]
        ends_word = part == parts - 1
        first_turn, last_turn = turns(m, header, busy & ~scaling, self._scaled)
        with m.If(self.row.start):
            m.d.sync += [address.eq(self.row.id), group.eq(0), left.eq(header.tiles), busy.eq(1)]
            m.d.sync += scaling.eq(int(self._scaled))
        if self._scaled:
            with m.Elif(scaling):
                m.d.sync += [address.eq(address + rows), scaling.eq(0)]
        with m.Elif(busy & last_turn if self._scaled else busy):
            m.d.sync += group.eq(group + 1)
            with m.If(ends_word):
                m.d.sync += [address.eq(address + rows), left.eq(left - 1), busy.eq(left != 1)]
        m.d.comb += [words.read[0].address.eq(address), words.read[0].enable.eq(busy)]
        valid = busy & ~scaling & first_turn if self._scaled else busy
        last = valid & ends_word & (left == 1)
        ages = self._expand.cycles + 1 + words.latency
        m.d.comb += [
            write.enable.eq(delay(m, valid, ages, reset=True)),
            write.group.eq(delay(m, group, ages)),
            write.keep.eq(~0),
            self.vector_done.eq(delay(m, last, ages - self.ending, reset=True)),
        ]
        # Cycle 1 + WORD_LATENCY: the word has arrived: the scale, or its part, a cycle later.
        age = words.latency
        word = words.read[0].data
        scale = Signal(SCALE_BITS, reset_less=True)
        checked = delay(m, valid, age + 1, reset=True)
        if self._scaled:
            with m.If(delay(m, scaling, age, reset=True)):
                m.d.sync += scale.eq(word)
            checked |= delay(m, scaling, age + 1, reset=True)
        m.d.sync += self.parity_error.eq(checked & words.read[0].parity_error)
        elements = choose_part(m, word, delay(m, part, age), width)
        self._expand(m, elements, write.data, self.segment, scale)
        return m


def turns(m: Module, header: Any, active: Value, paced: bool) -> tuple[Value, Value]:
    """Whether this is the first of the cycles that P elements take, and whether it is the last.

    ``active``: elements are at hand. ``paced``: they take 2^``turns`` cycles, not one.
    """
    if not paced:
        return Const(1), Const(1)
    turn, most = Signal(2), Signal(2)
    m.d.sync += most.eq(Cat(header.turns != 0, header.turns == 2))
    ends = turn == most
    with m.If(active):
        m.d.sync += turn.eq(Mux(ends, 0, turn + 1))
    return turn == 0, ends


def choose_part(m: Module, word: Value, part: Value, width: int) -> list[Value]:
    """P elements, those of number ``part`` of a word, one cycle later."""
    choices = Array(word[n : n + 8 * width] for n in range(0, len(word), 8 * width))
    chosen = Signal(8 * width, reset_less=True)
    m.d.sync += chosen.eq(choices[part])
    return [chosen[8 * p : 8 * p + 8].as_signed() for p in range(width)]


class ShiftUp:
    """The step of pow2: elements are shifted up, by 0..8, in two cycles, by 4s and by 1s."""

    cycles = 2

    def __call__(
        self, m: Module, elements: list[Value], values: Any, segment: Any, scale: Value
    ) -> None:
        shifted = delay(m, segment.header.base[0][:4], 1)
        for p, element in enumerate(elements):
            coarse = Signal(signed(16), reset_less=True, name=f"coarse_{p}")
            with m.Switch(shifted[2:]):
                for fours in range(3):
                    with m.Case(fours):
                        m.d.sync += coarse.eq(element << 4 * fours)
            fine = delay(m, shifted[:2], 1)
            with m.Switch(fine):
                for ones in range(4):
                    with m.Case(ones):
                        m.d.sync += values[p].eq(coarse << ones)
