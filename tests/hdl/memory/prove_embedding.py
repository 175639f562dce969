"""The embedding: a row leaves group by group, shifted as section 4 of the contract says."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_
from typing import NamedTuple

from amaranth.hdl import Mux, Signal, Value

from hdl.memory.embedding import Embedding
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

ROWS = 3
MAX_SHIFT = 8


class _Turn(NamedTuple):
    """Whose turn it is, if it is ``running``: part ``part`` of word ``tile`` of row ``token``."""

    running: Signal
    token: Signal
    tile: Signal
    part: Signal
    last: Value
    """It is the row's last one."""


def rows(columns: int, width: int, tiles: int) -> Callable[[], Bench]:
    """Rows in any order, of at most ``tiles`` words; any word of them, chosen by the solver."""

    def build() -> Bench:
        sizes = {"post_width": width, "embedding_rows": ROWS, "embedding_width": tiles * columns}
        design = small_design(width, columns, tiles * columns, **sizes)
        bench = Bench(Embedding(design))
        block, parts = bench.block, columns // width
        turn = _turns(bench, tiles, parts)
        write, ages = block.write, block.latency - 1
        valid = bench.past(turn.running, ages)
        bench.prove("a write for each group of a row, and no other", write.enable == valid)
        group = bench.past(turn.tile * parts + turn.part, ages)
        bench.prove("groups in turn", ~valid | (write.group == group))
        ending = bench.past(turn.running & turn.last, ages - block.ending)
        bench.prove("vector_done, ahead of the last write", block.vector_done == ending)

        # What the chosen word holds in the cycle in which the RAM reads it, and writes nothing.
        address = bench.some(range(ROWS * tiles), "address")
        bench.inside(block.words)
        memory = bench.inside(block.words.memory).part("embedding")
        look, loaded = memory.read_port(domain="comb"), block.words.load.enable
        bench.m.d.comb += look.addr.eq(address)
        content = look.data[: 8 * columns + 1]
        asked = turn.running & (turn.tile * ROWS + turn.token == address)
        asked = bench.past(asked) & ~(loaded | bench.past(loaded))
        odd = bench.past(content, ages - 2).xor()
        bench.prove(
            "parity_error: of a word that is read",
            ~bench.past(asked, ages - 2) | (block.parity_error == odd),
        )
        base = block.segment.header.base[0]
        stable = reduce(and_, [bench.past(base == bench.past(base), n) for n in range(ages)])
        due = bench.past(asked, ages - 1) & stable & (base >= 0) & (base <= MAX_SHIFT)
        word, place = bench.past(content, ages - 1), bench.past(turn.part, ages)
        for p in range(width):
            element = word.word_select(place * width + p, 8).as_signed()
            bench.prove(
                f"element {p} of a group: that of the row, shifted",
                ~due | (write.data[p] == element << base[:4]),
            )
        ends = bench.past(turn.last & (turn.token != 0), ages) & bench.past(block.row.start, 2)
        bench.cover("a row's last values when the next has begun", due & ends & (base == 3))
        return bench

    return build


def _turns(bench: Bench, tiles: int, parts: int) -> _Turn:
    """What the block does in which cycle, and the registers by which it knows."""
    m, row, header = bench.m, bench.block.row, bench.block.segment.header
    bench.assume(
        "a row that is asked for is one of the memory, and no longer than its rows",
        ~row.start | ((row.id < ROWS) & (header.tiles >= 1) & (header.tiles <= tiles)),
        by="the host, whose ids lie in the vocabulary, and the check of a tape",
    )
    running, token = Signal(name="running"), Signal(range(ROWS), name="token")
    tile, part = Signal(range(tiles + 1), name="tile"), Signal(range(parts + 1), name="part")
    length = Signal(range(tiles + 1), name="length")
    ends_word = part == parts - 1
    last = ends_word & (tile == length - 1)
    m.d.sync += [
        running.eq(running & ~last),
        part.eq(Mux(ends_word, 0, part + 1)),
        tile.eq(tile + ends_word),
    ]
    with m.If(row.start):
        m.d.sync += [running.eq(1), token.eq(row.id), length.eq(header.tiles)]
        m.d.sync += [tile.eq(0), part.eq(0)]
    inner = bench.inside(bench.block)
    bench.lemma(inner["busy"] == running)
    for condition in (
        (tile < length) & (length <= tiles) & (part < parts) & (token < ROWS),
        inner["address"] == tile * ROWS + token,
        inner["left"] == length - tile,
        inner["group"] == tile * parts + part,
    ):
        bench.lemma(~running | condition)
    return _Turn(running, token, tile, part, last)


PROOFS = [
    Proof("embedding", rows(4, 2, 2), depth=12, section="4", quick=True),
    Proof("embedding_whole_words", rows(4, 4, 3), depth=12, section="4"),
]
