"""Embedding: the row of a token becomes the residual vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import CurrentSegment, EmbeddingRow, GroupWrite
from hdl.memory.loaded_memory import LoadedMemory, LoadWrite
from hdl.payloads import EARLY, vector_groups
from mmfree.chip.design import Design
from mmfree.chip.memory_map import loaded_shape

_WORD_LATENCY = 5
LATENCY = 2 + _WORD_LATENCY + 2


class Embedding(wiring.Component):
    """Rows of int8, shifted up to the residual's format (docs/arithmetic.md, 4), P elements per
    cycle.

    Ports::

        row           in   EmbeddingRow    the order to read a row
        segment       in   CurrentSegment  of the embedding: words of a row, and its shift, 0..8
        write         out  GroupWrite      the row, 0 beyond its end, from ``latency`` cycles on
        vector_done   out  1               ENDING cycles before the last write
        load          in   LoadWrite       of the rows
        parity_error  out  1               of a word that was read

    A row at a time; never stalls. After reset nothing is written.
    """

    ENDING = EARLY - 1
    """The residual's writer, which passes the values on, takes a cycle more."""

    def __init__(self, design: Design, contents: Sequence[int] = ()) -> None:
        self._design = design
        shape = loaded_shape(design, "embedding")
        self.words = LoadedMemory("embedding", shape, fabric_registers=True, contents=contents)
        self.memories = self.words.memories
        self.latency = LATENCY
        assert self.words.latency == _WORD_LATENCY
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
        # Cycle 1 on: the groups of a word in turn. Word t of row v is at t * rows + v: the address
        # steps by the number of rows, which needs no product (docs/decisions/0003).
        address = Signal(range(rows * design.embedding_tiles + rows))
        group = Signal.like(write.group)
        left = Signal.like(header.tiles)
        busy = Signal()
        parts = columns // width
        part = group[: (parts - 1).bit_length()]
        ends_word = part == parts - 1
        with m.If(self.row.start):
            m.d.sync += [address.eq(self.row.id), group.eq(0), left.eq(header.tiles), busy.eq(1)]
        with m.Elif(busy):
            m.d.sync += group.eq(group + 1)
            with m.If(ends_word):
                m.d.sync += [address.eq(address + rows), left.eq(left - 1), busy.eq(left != 1)]
        m.d.comb += [words.read[0].address.eq(address), words.read[0].enable.eq(busy)]
        valid, last = busy, busy & ends_word & (left == 1)
        ages = self.latency - 1
        m.d.comb += [
            write.enable.eq(delay(m, valid, ages, reset=True)),
            write.group.eq(delay(m, group, ages)),
            write.keep.eq(~0),
            self.vector_done.eq(delay(m, last, ages - self.ENDING, reset=True)),
        ]
        # Cycle 1 + _WORD_LATENCY: the word has arrived: its part, then the shift in two cycles, by
        # 4s and by 1s.
        age = words.latency
        checked = delay(m, valid, age + 1, reset=True)
        m.d.sync += self.parity_error.eq(checked & words.read[0].parity_error)
        shift_up(m, write, words.read[0].data, delay(m, part, age), header.base[0])
        return m


SHIFT_CYCLES = 3
"""Cycles of ``shift_up``."""


def shift_up(m: Module, write: Any, word: Value, part: Value, shift: Value) -> None:
    """P elements of int8, those of number ``part`` of a word, become values, SHIFT_CYCLES later.

    ``write``: a GroupWrite, of which this drives the data. ``shift``: 0..8.
    """
    width = len(write.data)
    choices = Array(word[n : n + 8 * width] for n in range(0, len(word), 8 * width))
    chosen = Signal(8 * width, reset_less=True)
    shifted = delay(m, shift[:4], 1)
    m.d.sync += chosen.eq(choices[part])
    for p in range(width):
        element = chosen[8 * p : 8 * p + 8].as_signed()
        coarse = Signal(signed(16), reset_less=True, name=f"coarse_{p}")
        with m.Switch(shifted[2:]):
            for fours in range(3):
                with m.Case(fours):
                    m.d.sync += coarse.eq(element << 4 * fours)
        fine = delay(m, shifted[:2], 1)
        with m.Switch(fine):
            for ones in range(4):
                with m.Case(ones):
                    m.d.sync += write.data[p].eq(coarse << ones)
