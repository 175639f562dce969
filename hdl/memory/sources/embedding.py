"""Embedding in an external memory: a token's row comes by itself, with its check, and becomes x."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import CurrentSegment, EmbeddingRow, GroupWrite, MemorySettings
from hdl.memory.embedding import Expand, ShiftUp, choose_part, ending, turns
from hdl.memory.sources.axi_read import AxiRead
from hdl.memory.sources.rows import RowSource
from hdl.memory.sources.watchdog import TIMEOUT_CYCLES
from hdl.memory.weight_check import StreamCheck
from hdl.payloads import vector_groups
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ROW_BYTES
from mmfree.chip.memory_map import PAGE_WORDS, SCALE_BITS, group_bits, row_beats, row_bytes

_ORDER_CYCLES = 14
"""Of the handshake with the reader, of its ring, and of the first burst."""


def first_write(expand: Expand) -> int:
    """Cycles from a row's first tile to its first write; in absmax its scale is a beat before."""
    return 2 + expand.cycles


def row_order_cycles(design: Design) -> int:
    """Cycles from the order of a row to its first beat, less those of the memory: from a burst's
    acceptance to its first beat. The clock of the bus is the chip's.
    """
    return _ORDER_CYCLES + (row_bytes(design) // ROW_BYTES).bit_length()


def scale_cycles(design: Design) -> int:
    """absmax: cycles from the beat with a row's scale to that with its first tile, from a bus as
    above. Where a burst is a beat, the second is ordered two cycles after the first.
    """
    external = design.external
    assert external is not None
    return 1 if external.port_bytes < ROW_BYTES else 2


class StreamedEmbedding(wiring.Component):
    """Rows of int8 from an external memory, expanded to the residual's format
    (docs/arithmetic.md, 4), P elements per cycle.

    The beats of a row are its tiles and a check word, which is examined after them. Beats beyond
    the words of a segment's vector only count for the check. In absmax the first beat holds the
    row's scale, and P elements leave in 2^``turns`` cycles.

    Ports::

        row          in   EmbeddingRow    the order to read a row
        segment      in   CurrentSegment  of the embedding: words of a row, and its shift
        settings     in   MemorySettings  where the rows are
        playing      in   1               a token is in progress
        axi          out  AxiRead         the port that reads them
        write        out  GroupWrite      the row, 0 beyond its end, ``first_write`` after a tile
        vector_done  out  1               ``ending`` cycles before the last write
        checked      out  1               a row's check word was examined
        fault        out  1               it does not agree; with checked
        response     out  1               the memory answered a beat of the row with an error
        timeout      out  1               it did not answer

    A row at a time: one that is ordered before the last was checked is lost. A beat is taken in
    C / P cycles, or 2^``turns`` times as many. After reset nothing is written. ``expand``: as of
    Embedding.
    """

    def __init__(
        self, design: Design, timeout: int = TIMEOUT_CYCLES, *, expand: Expand | None = None
    ) -> None:
        self._design, self._expand = design, expand or ShiftUp()
        self._scaled = design.arithmetic == "absmax"
        self.first_write, self.ending = first_write(self._expand), ending(design)
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
        width = self._design.post_width
        parts = self._design.columns // width
        part = group[: (parts - 1).bit_length()]
        first_turn, last_turn = turns(m, header, holding, self._scaled)
        ends_word = (part == parts - 1) & last_turn if self._scaled else part == parts - 1
        last_tile = Signal()
        taken = beats.valid & beats.ready
        scaling = taken & (beat == 0) if self._scaled else Const(0)
        m.d.comb += beats.ready.eq(~holding | ends_word)
        with m.If(holding):
            m.d.sync += group.eq(group + last_turn)
            with m.If(ends_word):
                m.d.sync += holding.eq(0)
        with m.If(taken):
            m.d.sync += [beat.eq(beat + 1), word.eq(beats.payload.data)]
            with m.If((tiles != 0) & ~scaling if self._scaled else tiles != 0):
                m.d.sync += [holding.eq(1), tiles.eq(tiles - 1), last_tile.eq(tiles == 1)]
        with m.If(row.start):
            m.d.sync += [beat.eq(0), group.eq(0), tiles.eq(header.tiles)]
        # Cycle 1 on: the parts of the beat, then the values.
        ages = self.first_write - 1
        valid = holding & first_turn if self._scaled else holding
        last = valid & (part == parts - 1) & last_tile
        m.d.comb += [
            write.enable.eq(delay(m, valid, ages, reset=True)),
            write.group.eq(delay(m, group, ages)),
            write.keep.eq(~0),
            self.vector_done.eq(delay(m, last, ages - self.ending, reset=True)),
        ]
        scale = Signal(SCALE_BITS, reset_less=True)
        if self._scaled:
            with m.If(scaling):
                m.d.sync += scale.eq(beats.payload.data)
        self._expand(m, choose_part(m, word, part, width), write.data, self.segment, scale)
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
