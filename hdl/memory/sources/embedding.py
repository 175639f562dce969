"""Embedding in an external memory: a token's row comes by itself, with its check, and becomes x."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import CurrentSegment, EmbeddingRow, GroupWrite, MemorySettings
from hdl.memory.embedding import SHIFT_CYCLES, shift_up
from hdl.memory.sources.axi_read import AxiRead
from hdl.memory.sources.rows import RowSource
from hdl.memory.sources.watchdog import TIMEOUT_CYCLES
from hdl.memory.weight_check import StreamCheck
from hdl.payloads import EARLY, vector_groups
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ROW_BYTES
from mmfree.chip.memory_map import PAGE_WORDS, group_bits, row_beats, row_bytes

_ORDER_CYCLES = 14
"""Of the handshake with the reader, of its ring, and of the first burst."""

FIRST_WRITE = 1 + SHIFT_CYCLES
"""Cycles from a row's first beat to its first write."""


def order_cycles(design: Design) -> int:
    """Cycles from the order of a row to its first beat, less those of the memory: from a burst's
    acceptance to its first beat. The clock of the bus is the chip's.
    """
    return _ORDER_CYCLES + (row_bytes(design) // ROW_BYTES).bit_length()


class StreamedEmbedding(wiring.Component):
    """Rows of int8 from an external memory, shifted up to the residual's format
    (docs/arithmetic.md, 4), P elements per cycle.

    The beats of a row are its tiles and a check word, which is examined after them. Beats beyond
    the words of a segment's vector only count for the check.

    Ports::

        row          in   EmbeddingRow    the order to read a row
        segment      in   CurrentSegment  of the embedding: words of a row, and its shift, 0..8
        settings     in   MemorySettings  where the rows are
        playing      in   1               a token is in progress
        axi          out  AxiRead         the port that reads them
        write        out  GroupWrite      the row, 0 beyond its end, FIRST_WRITE cycles after a beat
        vector_done  out  1               ENDING cycles before the last write
        checked      out  1               a row's check word was examined
        fault        out  1               it does not agree; with checked
        response     out  1               the memory answered a beat of the row with an error
        timeout      out  1               it did not answer

    A row at a time: one that is ordered before the last was checked is lost. A beat is taken in
    C / P cycles. After reset nothing is written.
    """

    ENDING = EARLY - 1
    """The residual's writer, which passes the values on, takes a cycle more."""

    def __init__(self, design: Design, timeout: int = TIMEOUT_CYCLES) -> None:
        self._design = design
        self.source = RowSource(design, timeout)
        self.check = StreamCheck(group_bits(design), 1, PAGE_WORDS)
        super().__init__(
            {
                "row": In(EmbeddingRow(design)),
                "segment": In(CurrentSegment(design)),
                "settings": In(MemorySettings(design)),
                "playing": In(1),
                "axi": Out(AxiRead(group_bits(design))),
                "write": Out(GroupWrite(design, vector_groups(design, design.embedding_tiles))),
                "vector_done": Out(1),
                "checked": Out(1),
                "fault": Out(1),
                "response": Out(1),
                "timeout": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.source, m.submodules.check = source, check = self.source, self.check
        header, write, row = self.segment.header, self.write, self.row
        wiring.connect(m, wiring.flipped(row), source.row)
        wiring.connect(m, wiring.flipped(self.settings), source.settings)
        wiring.connect(m, source.axi, wiring.flipped(self.axi))
        m.d.comb += [source.playing.eq(self.playing), self.timeout.eq(source.timeout)]
        # Cycle 0: a beat. It is kept while its parts are taken, unless it is not of the vector.
        beats, last_beat = source.beats, row_beats(self._design) - 1
        beat = Signal(range(last_beat + 1))
        tiles = Signal.like(header.tiles)
        holding = Signal()
        word = Signal(len(beats.payload.data), reset_less=True)
        group = Signal.like(write.group)
        parts = self._design.columns // self._design.post_width
        part = group[: (parts - 1).bit_length()]
        ends_word = part == parts - 1
        last_tile = Signal()
        taken = beats.valid & beats.ready
        m.d.comb += beats.ready.eq(~holding | ends_word)
        with m.If(holding):
            m.d.sync += group.eq(group + 1)
            with m.If(ends_word):
                m.d.sync += holding.eq(0)
        with m.If(taken):
            m.d.sync += [beat.eq(beat + 1), word.eq(beats.payload.data)]
            with m.If(tiles != 0):
                m.d.sync += [holding.eq(1), tiles.eq(tiles - 1), last_tile.eq(tiles == 1)]
        with m.If(row.start):
            m.d.sync += [beat.eq(0), group.eq(0), tiles.eq(header.tiles)]
        # Cycle 1 on: the parts of the beat, then the shift.
        ages = FIRST_WRITE - 1
        m.d.comb += [
            write.enable.eq(delay(m, holding, ages, reset=True)),
            write.group.eq(delay(m, group, ages)),
            write.keep.eq(~0),
            self.vector_done.eq(
                delay(m, holding & ends_word & last_tile, ages - self.ENDING, reset=True)
            ),
        ]
        shift_up(m, write, word, part, header.base[0])
        # Every beat is checked, a cycle later.
        m.d.comb += [
            check.words[0].eq(word),
            check.taken.word.eq(delay(m, taken & (beat != last_beat), 1, reset=True)),
            check.taken.last.eq(delay(m, taken & (beat == last_beat - 1), 1, reset=True)),
            check.taken.check.eq(delay(m, taken & (beat == last_beat), 1, reset=True)),
            check.restart.eq(row.start),
            self.checked.eq(check.done),
            self.fault.eq(check.done & check.fault),
        ]
        m.d.sync += self.response.eq(taken & beats.payload.response)
        return m
