"""Row blocks: the queue never overflows, each block leaves whole and in order, with what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import and_, or_
from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value

from hdl.array.row_blocks import LATENCY, RowBlocks
from hdl.fabric.technology import Technology
from hdl.payloads import RESULT_BLOCKS, ROLE
from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, MATRICES_PER_SEGMENT
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Inside, Proof

AFTER_TAKE = LATENCY - 2
"""Cycles from ``block_done`` to the block's first values."""

SETTLE = 3
"""Cycles from ``load`` to the first results, at least."""

ROLES = {
    "gates": ("table", "forget", "operand"),
    "output": ("residual",),
    "glu": ("table", "operand"),
    "head": ("logit",),
}


def _design(rows: int, width: int) -> Design:
    return small_design(rows, 4, 7, post_width=width, max_rows=4 * rows)


def _arrivals(
    design: Design, technology: Technology = Technology.GENERIC
) -> tuple[Bench, Inside, Value]:
    """(bench, signals inside the block, how many row blocks have arrived and wait)."""
    bench = Bench(RowBlocks(design))
    block = bench.block
    inner = bench.inside(block, technology)
    valid, take, waiting = block.sums.valid, inner["take"], inner["waiting"]
    for group in range(1, design.num_groups):
        bench.assume(
            f"group {group}: its sums come a cycle after those of the group before",
            valid[group] == bench.past(valid[group - 1]),
            by="TernaryArray",
            proof="ternary_array_4x6",
        )
    unfinished = Signal(range(RESULT_BLOCKS + 2))
    bench.m.d.sync += unfinished.eq(unfinished + valid[0] - block.block_done)
    bench.assume(
        "of at most 16 row blocks there are results that have not left",
        ~valid[0] | (unfinished < RESULT_BLOCKS),
        by="Sequencer",
        proof="sequencer_admission",
    )
    coming = _count(bench.past(valid[0], n) for n in range(1, design.num_groups))
    bench.lemma(unfinished == waiting + coming + block.block_done)
    bench.lemma(inner["some"] == (waiting != 0))
    bench.lemma(block.block_done == bench.past(take))
    held, slot, last_slot = inner.all("held")[0], inner["slot"], inner["last_slot"]
    bench.lemma(~held | (slot < design.groups_per_block))
    bench.lemma(~held | (last_slot == (slot == design.groups_per_block - 1)))
    return bench, inner, waiting


def queue(
    rows: int, width: int, technology: Technology = Technology.GENERIC
) -> Callable[[], Bench]:
    """Any one row block, chosen by the solver: it waits, and then leaves, unchanged."""

    def build() -> Bench:
        design = _design(rows, width)
        bench, inner, waiting = _arrivals(design, technology)
        m, block, slots = bench.m, bench.block, design.groups_per_block
        take, held, slot = inner["take"], inner.all("held")[0], inner["slot"]
        bench.prove("never more row blocks than its places", waiting <= RESULT_BLOCKS)
        bench.prove("nothing leaves that has not arrived", ~take | (waiting != 0))
        bench.prove("without a scale nothing leaves", ~take | block.scale.done)
        bench.prove(
            "with one, a block that waits leaves at once, or after the one that leaves",
            ~(block.scale.done & (waiting != 0)) | take | (held & (slot != slots - 1)),
        )
        bench.prove("blocks leave one at a time", ~(take & held) | (slot == slots - 1))

        # The chosen block, and how many wait before it, from the arrival of its last group on.
        ours = bench.any(1, "chosen") & block.sums.valid[0] & ~(begun := Signal(name="begun"))
        arrived = bench.past(ours, design.num_groups - 1)
        waits = Signal(name="waits")
        ahead = Signal(range(RESULT_BLOCKS + 1), name="ahead")
        leaves = waits & take & (ahead == 0)
        with m.If(ours):
            m.d.sync += begun.eq(1)
        with m.If(arrived):
            m.d.sync += [waits.eq(1), ahead.eq(waiting - take)]
        with m.If(waits & take):
            m.d.sync += [ahead.eq(ahead - 1), waits.eq(ahead != 0)]
        bench.lemma(~waits | (begun & (ahead < waiting)))
        noted = _noted(bench, inner, design, ours, leaves, waits, ahead)

        done = bench.past(leaves)
        acc = Cat(*block.rows.acc)
        for number in range(slots):
            due = bench.past(done, AFTER_TAKE + number)
            part = noted[number * len(acc) : (number + 1) * len(acc)]
            tag = block.rows.tag
            bench.prove(
                f"slot {number} of any block leaves {number} cycles after its first, unchanged",
                ~due | (tag.valid & (tag.slot == number) & (acc == part)),
            )
        for age in range(AFTER_TAKE + slots + 1):
            bench.lemma(~bench.past(done, age) | (begun & ~waits))
        waited = bench.past(ahead, slots + 1) == 1
        bench.cover("a block leaves that waited for the one before", done & waited)
        return bench

    return build


def _noted(
    bench: Bench,
    inner: Inside,
    design: Design,
    ours: Value,
    leaves: Value,
    waits: Value,
    ahead: Value,
) -> Value:
    """The values of the chosen block; from its arrival on each group of rows is in its RAM."""
    m, valid, reads = bench.m, bench.block.sums.valid, inner["read_pointer"]
    bits = design.group_rows * design.accumulator_bits
    values = Cat(*bench.block.sums.acc)
    noted = Signal(len(values), name="noted")
    place = Signal(range(RESULT_BLOCKS), name="place")
    with m.If(ours):
        m.d.sync += place.eq(inner["write_pointer_0"])
    bench.lemma(~waits | ((reads + ahead)[: len(place)] == place))
    for age in range(1, design.num_groups):
        newer = _count(bench.past(valid[0], n) for n in range(1, age))
        bench.lemma(
            ~bench.past(ours, age) | ((place + 1 + newer)[: len(place)] == inner["write_pointer_0"])
        )
    for group in range(design.num_groups):
        own = slice(group * bits, (group + 1) * bits)
        arrives = bench.past(ours, group)
        present = Signal(name=f"present_{group}")
        with m.If(arrives):
            m.d.sync += [noted[own].eq(values[own]), present.eq(1)]
        with m.If(leaves):
            m.d.sync += present.eq(0)
        early = _count(
            bench.past(valid[group], n + 1) for n in range(design.num_groups - 1 - group)
        )
        pointer = inner[f"write_pointer_{group}"]
        bench.lemma(pointer == (reads + inner["waiting"] + early)[: len(pointer)])
        words = inner.part(f"queue_{group}").read_port(domain="comb")
        m.d.comb += words.addr.eq(place)
        bench.lemma(~present | (words.data == noted[own]))
        on_the_way = _count(bench.past(ours, n) for n in range(group + 1, design.num_groups))
        bench.lemma(present == (waits | on_the_way.any()))
    return noted


def _count(flags: Iterable[Value]) -> Value:
    return sum(flags, start=Const(0))


def tags(rows: int, width: int) -> Callable[[], Bench]:
    """What accompanies the values of each slot, by the number of the block in its segment."""

    def build() -> Bench:
        design = _design(rows, width)
        bench, inner, waiting = _arrivals(design)
        m, block, slots = bench.m, bench.block, design.groups_per_block
        header, scale, done = block.segment.header, block.scale, block.block_done
        _assume_segments(bench, (waiting != 0) | inner["take"] | inner.all("held")[0] | done)

        # Matrix and row block of what leaves, counted from load.
        matrix = Signal(range(MATRICES_PER_SEGMENT + 1), name="number")
        number = Signal(range(design.max_blocks + 1), name="row_block")
        roles, matrices, known = _roles(bench, header.kind, matrix)
        ends_block = matrix == matrices - 1
        following = Mux(done, Mux(ends_block, 0, matrix + 1), matrix)
        following_number = number + (done & ends_block)
        m.d.sync += [matrix.eq(following), number.eq(following_number)]
        with m.If(block.segment.load):
            m.d.sync += [matrix.eq(0), number.eq(0)]
        bench.assume(
            "of a segment's matrices there are no more row blocks than its header says",
            ~done | (known & (number < header.blocks) & (header.blocks <= design.max_blocks)),
            by="Sequencer",
            proof="sequencer_tiles",
        )
        bench.lemma(~known | (matrix < matrices))
        bench.lemma(inner["matrix"] == following)
        bench.lemma(inner["block"] == following_number[: len(inner["block"])])
        for first in inner.all("first"):
            bench.lemma(first == (following_number * slots)[: len(first)])

        # What belongs to a block, in the cycle after it was taken from the queue.
        last_block = number == header.blocks - 1
        multipliers = Array(bench.past(factor) for factor in scale.multipliers)
        exponent = Array(header.base)[matrix] + bench.past(scale.exponent)
        tag, rows_out = block.rows.tag, block.rows
        right: dict[str, list[Value]] = {}
        due = [bench.past(done, AFTER_TAKE + slot) for slot in range(slots)]
        for slot in range(slots):
            keep = Cat(~last_block | (slot * width + p < header.tail_rows) for p in range(width))
            for words, found, wanted in (
                ("the role: matrices in turn", tag.role, roles),
                ("the place in the row block", tag.slot, Const(slot)),
                ("the place in the matrix", tag.group, number * slots + slot),
                ("keep: not what is beyond the last row", tag.keep, keep),
                (
                    "end: the last values of the last block",
                    tag.end,
                    ends_block & last_block & (slot == slots - 1),
                ),
                ("the multiplier of the matrix", rows_out.multiplier, multipliers[matrix]),
                (
                    "the shift, a cycle before",
                    bench.past(rows_out.shift),
                    exponent[: len(rows_out.shift)],
                ),
                ("wide: f, o, down and the head", rows_out.wide, _wide(roles)),
            ):
                then = bench.past(Value.cast(wanted), AFTER_TAKE + slot)
                right.setdefault(words, []).append(~due[slot] | (Value.cast(found) == then))
        bench.prove("values come while a block leaves, and only then", tag.valid == _any(due))
        for words, conditions in right.items():
            bench.prove(words, reduce(and_, conditions))
        bench.cover("the second row block ends its segment", tag.valid & tag.end & (tag.group != 0))
        return bench

    return build


def _assume_segments(bench: Bench, leaving: Value) -> None:
    """Header and results as the sequencer gives them; ``leaving``: row blocks wait, or leave."""
    load, header = bench.block.segment.load, Value.cast(bench.block.segment.header)
    bench.assume(
        "a header stays until the cycle after load",
        (header == bench.past(header)) | bench.past(load) | ~bench.after(1),
        by="Sequencer",
    )
    recent = load | _any(bench.past(load, n) for n in range(1, SETTLE)) | ~bench.after(SETTLE)
    bench.assume(
        "no results come in the 3 cycles from load on",
        ~recent | ~bench.block.sums.valid.any(),
        by="Sequencer",
    )
    bench.assume("load comes when all row blocks have left", ~load | ~leaving, by="Sequencer")


def _wide(role: Any) -> Value:
    return role.forget | role.residual | role.logit


def _roles(bench: Bench, kind: Value, matrix: Value) -> tuple[Any, Value, Value]:
    """(role of a matrix, number of matrices, whether there are any) in a segment of a kind."""
    role, count, known = Signal(ROLE, name="wanted_role"), Signal(range(4)), Signal()
    m = bench.m
    with m.Switch(kind):
        for name, roles in ROLES.items():
            with m.Case(KIND_CODES[name]):
                m.d.comb += [known.eq(1), count.eq(len(roles))]
                for number, flag in enumerate(roles):
                    m.d.comb += role[flag].eq(matrix == number)
    return role, count, known


def _any(flags: Iterable[Value]) -> Value:
    return reduce(or_, flags)


PROOFS = [
    Proof("row_blocks_queue_1_slot", queue(4, 4), depth=8),
    Proof("row_blocks_queue_4_slots", queue(8, 2), depth=10, quick=True),
    Proof(
        "row_blocks_queue_4_slots_ecp5",
        queue(8, 2, Technology.ECP5),
        depth=10,
        technology=Technology.ECP5,
    ),
    Proof("row_blocks_tags_1_slot", tags(4, 4), depth=12),
    Proof("row_blocks_tags_3_slots", tags(6, 2), depth=12),
    Proof("row_blocks_tags_4_slots", tags(8, 2), depth=12),
]
