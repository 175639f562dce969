"""Vector memories: what was written by groups is read, by words and by groups."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Cat, ShapeLike, Signal, Value

from hdl.fabric.technology import Technology
from hdl.memory.vectors import GroupMemory, VectorMemory, from_stored
from hdl.payloads import CUT
from mmfree.chip.design import Design
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

WORDS = 4


def _design(columns: int, width: int, value_bits: int) -> Design:
    return small_design(width, columns, columns, post_width=width, value_bits=value_bits)


def _last_written(bench: Bench, group: Value) -> tuple[Signal, Signal]:
    """(whether a group was written, the values of the last time), from the next cycle on."""
    write = bench.block.write
    known, values = Signal(name="known"), Signal(len(Value.cast(write.data)), name="values")
    with bench.m.If(write.enable & (write.group == group)):
        bench.m.d.sync += [known.eq(1), values.eq(write.data)]
    return known, values


def words(
    columns: int,
    width: int,
    value_bits: int,
    technology: Technology = Technology.GENERIC,
    shape: ShapeLike | None = None,
) -> Callable[[], Bench]:
    """Any group, chosen by the solver, as a part of the word that is read."""

    def build() -> Bench:
        design = _design(columns, width, value_bits)
        bench = Bench(VectorMemory(design, WORDS, shape))
        block, parts = bench.block, columns // width
        inner = bench.inside(block, technology)
        word = bench.some(range(WORDS), "word")
        for part in range(parts):
            group = word * parts + part
            known, values = _last_written(bench, group)
            asked = (block.read.address == word) & known
            # A write in this very cycle, of the same group, may be read or not.
            asked &= ~(block.write.enable & (block.write.group == group))
            due, was = (bench.past(v, VectorMemory.LATENCY) for v in (asked, values))
            read = Value.cast(block.read.data)[part * len(values) : (part + 1) * len(values)]
            bench.prove(
                f"part {part} of a word: the group as it was last written", ~due | (read == was)
            )
            look = inner.part(f"part_{part}").read_port(domain="comb")
            bench.m.d.comb += look.addr.eq(word)
            bench.lemma(~bench.past(known) | (look.data == bench.past(values)))
        again = due & bench.past(due, 2) & (was != bench.past(was, 2))
        bench.cover("a group is read before and after it is written again", again)
        return bench

    return build


def groups(columns: int, width: int, value_bits: int) -> Callable[[], Bench]:
    def build() -> Bench:
        design = _design(columns, width, value_bits)
        bench = Bench(GroupMemory(design, WORDS))
        block = bench.block
        bench.inside(block)
        stored = bench.inside(block.memories[0]).part("groups")
        group = bench.some(range(WORDS * columns // width), "group")
        known, values = _last_written(bench, group)
        asked = (block.read.address == group) & known & ~block.write.enable
        due, was = (bench.past(v, GroupMemory.LATENCY) for v in (asked, values))
        bench.prove(
            "a group is read as it was last written", ~due | (Value.cast(block.read.data) == was)
        )
        look = stored.read_port(domain="comb")
        bench.m.d.comb += look.addr.eq(group)
        held = Cat(from_stored(design, look.data))
        bench.lemma(~bench.past(known) | (held == bench.past(values)))
        again = due & bench.past(due, 2) & (was != bench.past(was, 2))
        bench.cover("a group is read before and after it is written again", again)
        return bench

    return build


PROOFS = [
    Proof("vector_memory", words(8, 2, 16), depth=5, quick=True),
    Proof("vector_memory_cut", words(4, 2, 16, shape=CUT), depth=5),
    Proof("vector_memory_whole_words", words(4, 4, 18), depth=5),
    Proof(
        "vector_memory_ecp5", words(8, 2, 16, Technology.ECP5), depth=5, technology=Technology.ECP5
    ),
    Proof("group_memory", groups(8, 2, 16), depth=8),
    Proof("group_memory_19_bits", groups(4, 2, 19), depth=8),
]
