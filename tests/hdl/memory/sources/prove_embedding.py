"""The embedding from an external memory: beats become values, whenever they come."""

from __future__ import annotations

from functools import reduce
from operator import and_
from typing import Any

from amaranth.hdl import Fragment, Module, Mux, Signal, Value
from amaranth.lib import wiring

from hdl.memory.sources.embedding import StreamedEmbedding
from hdl.memory.sources.rows import RowSource
from mmfree.chip.memory_map import row_beats
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Inside, Proof

DESIGN = small_design(
    20, 8, 24, post_width=4, embedding_width=24, weight_code="1.6", memory="axi64x4"
)
"""Rows of three tiles, of two parts each, and a check word."""

PARTS = DESIGN.columns // DESIGN.post_width
BEATS = row_beats(DESIGN)
MAX_SHIFT = 8


class AnyRow(wiring.Component):
    """In the place of a source of rows: beats come at any time, and are anything."""

    def __init__(self, source: RowSource, bench: Bench) -> None:
        super().__init__(source.signature)
        # Amaranth warns of what is made and not used.
        Fragment.get(source, None)
        self.beat = bench.any(len(self.beats.payload.as_value()), "beat")
        self.comes = bench.any(1, "comes")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.beats.valid.eq(self.comes), self.beats.payload.eq(self.beat)]
        return m


def rows() -> Bench:
    """Of rows in which the solver chooses a tile, and a part of it."""
    block = StreamedEmbedding(DESIGN)
    bench = Bench(block, driven=False)
    m, header, write = bench.m, block.segment.header, block.write
    source = block.source = AnyRow(block.source, bench)  # type: ignore[assignment]
    bench.choose(block.row.start, header.tiles, header.base[0])
    inner = Inside(bench.inside(block).module)
    taken = source.beats.valid & source.beats.ready
    beat, tiles, open_row = Signal(range(BEATS + 1)), Signal.like(header.tiles), Signal()
    m.d.sync += beat.eq(beat + taken)
    with m.If(taken & (beat == BEATS - 1)):
        m.d.sync += open_row.eq(0)
    with m.If(block.row.start):
        m.d.sync += [beat.eq(0), tiles.eq(header.tiles), open_row.eq(1)]
    holding = inner["holding"]
    bench.assume(
        "a row has as many beats as the memory holds of it, and no more come",
        ~source.beats.valid | (open_row & ~block.row.start),
        by="RowSource",
        proof="row_source",
    )
    bench.assume(
        "a row is ordered when the last one has been taken, and is no longer than the memory's",
        ~block.row.start | (~open_row & ~holding & (header.tiles >= 1) & (header.tiles < BEATS)),
        by="Sequencer, which waits for its check, and the check of a tape",
        proof="sequencer_records",
    )
    tile, part = bench.some(range(BEATS - 1), "tile"), bench.some(range(PARTS), "part")
    bench.assume("a tile and a part of it", (tile < BEATS - 1) & (part < PARTS), by="this bench")
    # The beat that holds the tile: its word, and when its part is chosen.
    mine = taken & (beat == tile) & (tile < tiles)
    word = Signal.like(source.beats.payload.data)
    with m.If(mine):
        m.d.sync += word.eq(source.beats.payload.data)
    due = Signal()
    for n in range(PARTS):
        with m.If(bench.past(mine, 1 + n) & (part == n)):
            m.d.comb += due.eq(1)
    ages = block.first_write - 1
    valid = bench.past(due, ages)
    base = header.base[0]
    stable = reduce(and_, [bench.past(base == bench.past(base), n) for n in range(ages)])
    fits = stable & (base >= 0) & (base <= MAX_SHIFT)
    bench.prove("a write for the part, first_write cycles after the beat", ~valid | write.enable)
    bench.prove("of its group", ~valid | (write.group == bench.past(tile * PARTS + part, ages)))
    for p in range(DESIGN.post_width):
        element = bench.past(word.word_select(part * DESIGN.post_width + p, 8), ages).as_signed()
        bench.prove(
            f"element {p}: that of the row, shifted",
            ~(valid & fits) | (write.data[p] == element << base[:4]),
        )
    of_tiles, last = Signal(), bench.past(taken & (beat + 1 == tiles), PARTS)
    for n in range(PARTS):
        with m.If(bench.past(taken & (beat < tiles), 1 + n)):
            m.d.comb += of_tiles.eq(1)
    bench.prove("no other write", write.enable == bench.past(of_tiles, ages))
    bench.prove(
        "vector_done, ahead of the last write",
        block.vector_done == bench.past(last, ages - block.ending),
    )
    check = _checks(bench, source, taken, beat)

    bench.lemma(holding == of_tiles)
    _count_lemmas(bench, inner, beat, tiles)
    bench.lemma((beat <= BEATS) & (~open_row | (beat < BEATS)))
    bench.cover("the last tile of a long row", valid & (tile == 2) & (part == PARTS - 1))
    bench.cover("a short row's check word", check.check & (tiles == 1))
    return bench


def _count_lemmas(bench: Bench, inner: Inside, beat: Value, tiles: Value) -> None:
    """What the block's own counts are, by the beats that have come and the row's tiles."""
    holding = inner["holding"]
    now = Signal(range(PARTS))
    with bench.m.If(holding):
        bench.m.d.sync += now.eq(Mux(now == PARTS - 1, 0, now + 1))
    bench.lemma(holding | (now == 0))
    bench.lemma(inner["beat"] == beat[: len(inner["beat"])])
    of_vector = Mux(beat < tiles, beat, tiles)
    bench.lemma(inner["tiles"] == tiles - of_vector)
    bench.lemma(~holding | (of_vector != 0))
    bench.lemma(inner["group"] == (of_vector - holding) * PARTS + now)
    bench.lemma(~holding | (inner["last_tile"] == (of_vector == tiles)))


def _checks(bench: Bench, source: AnyRow, taken: Value, beat: Value) -> Any:
    """What is checked of a row; returned: what the check is told."""
    check = bench.block.check.taken
    bench.prove("each beat is checked", check.word | check.check == bench.past(taken))
    bench.prove(
        "the last of them is the check word",
        check.check == bench.past(taken & (beat == BEATS - 1)),
    )
    bench.prove(
        "the one before it is told of", check.last == bench.past(taken & (beat == BEATS - 2))
    )
    bench.prove(
        "as it came",
        ~bench.past(taken) | (bench.block.check.words[0] == bench.past(source.beats.payload.data)),
    )
    return check


PROOFS = [Proof("streamed_embedding", rows, depth=10, section="4", reach=24)]
