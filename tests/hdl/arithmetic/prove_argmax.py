"""The row of the largest key: no row seen is better, and of equals it is the lowest."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed

from hdl.arithmetic.argmax import Argmax
from tests.support.proofs.bench import Bench, Proof

GROUP_BITS, KEY_BITS = 3, 17


def argmax(width: int) -> Bench:
    """Any row, chosen once, against the answer; the answer's key is that of a plain scan."""
    block = Argmax(width, GROUP_BITS, KEY_BITS)
    bench = Bench(block)
    compared = block.latency - 2
    any_seen, last = _assume_rows(bench, compared)
    found, best, row = _scan(bench)
    one = bench.some(len(block.row), "one")
    one_group, group = (_group_of(block, value) for value in (one, row))
    seen, key = _seen(bench, one)

    def since_clear(flag: Signal, cycles: int) -> Signal:
        """The flag some cycles ago, or 0 if all was forgotten since."""
        for _ in range(cycles):
            later = Signal(name=f"{flag.name}_later")
            bench.m.d.sync += later.eq(flag & ~block.clear)
            flag = later
        return flag

    inside = bench.inside(block)
    bench.lemma(inside["found"] == since_clear(found, compared))
    bench.lemma(~inside["found"] | (inside["best"] == bench.past(best, compared)))
    bench.lemma(block.row == bench.past(row, compared + 1))
    bench.lemma(~seen | found & ((best > key) | (best == key) & (row <= one)))
    bench.lemma(~found | (row != one) | seen & (key == best))
    bench.lemma(~found | any_seen & (group <= last))
    bench.lemma(~seen | any_seen & (one_group <= last))

    cycles = block.latency - 1
    seen, found = since_clear(seen, cycles), since_clear(found, cycles)
    key, best = bench.past(key, cycles), bench.past(best, cycles)
    bench.prove("no row seen has a larger key", ~seen | found & (key <= best))
    lowest = ~seen | (key < best) | (block.row <= one)
    bench.prove("of rows with the largest key it is the lowest", lowest)
    its_own = ~found | (block.row != one) | seen & (key == best)
    bench.prove("it was seen, with that key", its_own)
    tie = seen & (key == best) & (_group_of(block, block.row) != one_group)
    bench.cover("a tie of two groups, after an earlier token", tie & _was(bench, block))
    return bench


def _group_of(block: Argmax, row: Value) -> Value:
    return row[len(block.row) - GROUP_BITS :]


def _assume_rows(bench: Bench, compared: int) -> tuple[Signal, Signal]:
    """What a head's rows are; whether there was a group since ``clear``, and the last one."""
    block = bench.block
    any_seen, last = Signal(), Signal(GROUP_BITS)
    with bench.m.If(block.valid):
        bench.m.d.sync += [any_seen.eq(1), last.eq(block.group)]
    with bench.m.If(block.clear):
        bench.m.d.sync += any_seen.eq(0)
    rising = ~block.valid | ~any_seen | (block.group > last)
    bench.assume(
        "groups come in rising order", rising, by="RowBlocks", proof="row_blocks_tags_4_slots"
    )
    on_their_way = block.valid
    for cycles in range(1, compared + 1):
        on_their_way |= bench.past(block.valid, cycles)
    idle = ~block.clear | ~on_their_way
    bench.assume("cleared while no keys are on their way", idle, by="Sequencer")
    return any_seen, last


def _scan(bench: Bench) -> tuple[Signal, Signal, Signal]:
    """Whether there was a row, the best key and its row: keys one by one, rows as numbers."""
    block = bench.block
    lane_bits = len(block.row) - GROUP_BITS
    found, best, row = Signal(), Signal(signed(KEY_BITS)), Signal(len(block.row))
    next_found, next_best, next_row = found, best, row
    for p, key in enumerate(block.keys):
        here = Cat(Const(p, lane_bits), block.group)
        better = (key > next_best) | (key == next_best) & (here < next_row)
        take = block.valid & block.keep[p] & (~next_found | better)
        next_found = next_found | take
        next_best = Mux(take, key, next_best).as_signed()
        next_row = Mux(take, here, next_row)
    bench.m.d.sync += [
        found.eq(next_found & ~block.clear),
        best.eq(next_best),
        row.eq(next_row),
    ]
    return found, best, row


def _seen(bench: Bench, row: Signal) -> tuple[Signal, Signal]:
    """Whether this row was seen since ``clear``, and its key."""
    block = bench.block
    seen, key = Signal(), Signal(signed(KEY_BITS))
    for p, its_key in enumerate(block.keys):
        here = row == Cat(Const(p, len(row) - GROUP_BITS), block.group)
        with bench.m.If(block.valid & block.keep[p] & here):
            bench.m.d.sync += [seen.eq(1), key.eq(its_key)]
    with bench.m.If(block.clear):
        bench.m.d.sync += seen.eq(0)
    return seen, key


def _was(bench: Bench, block: Argmax) -> Signal:
    """A row was chosen, and forgotten."""
    was = Signal()
    with bench.m.If(block.clear & (block.row != 0)):
        bench.m.d.sync += was.eq(1)
    return was


PROOFS = [
    Proof(f"argmax_{width}", partial(argmax, width), depth=depth, section="14", quick=width == 2)
    for width, depth in ((1, 8), (2, 9), (4, 11))
]
