"""The source in block RAM: the image's words in order, each once, a share for each group."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Signal

from hdl.memory.sources.block import BlockSource
from hdl.memory.sources.interface import LATENCY
from mmfree.chip.memory_map import group_shape
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

WORDS = 5
QUIET = 2
"""Cycles between a load and a read that it does not disturb."""


def source(rows: int) -> Callable[[], Bench]:
    """Any word of the image, chosen by the solver."""

    def build() -> Bench:
        design = small_design(rows, 4, 4, weight_words=WORDS)
        bench = Bench(BlockSource(design))
        m, block, load, words = bench.m, bench.block, bench.block.load, bench.block.words
        inner, shape = bench.inside(block), group_shape(design)
        chosen = bench.some(range(WORDS), "chosen")

        # Words taken since the start or the last restart; one more than all if there were more.
        taken = Signal(range(WORDS + 2), name="taken")
        with m.If(words.restart):
            m.d.sync += taken.eq(0)
        with m.Elif(words.take & (taken <= WORDS)):
            m.d.sync += taken.eq(taken + 1)
        loads = [load.enable, *(bench.past(load.enable, n + 1) for n in range(QUIET))]
        asked = words.take & (taken == chosen) & (chosen < WORDS) & ~reduce(or_, loads)

        for group, memory in enumerate(block.weights):
            address = inner[f"address_{group}"]
            late = bench.past(taken, group)
            bench.lemma((late > WORDS) | (address == late))
            stored = []
            bench.inside(memory)
            look = bench.inside(memory.memory).part(memory.name).read_port(domain="comb")
            m.d.comb += look.addr.eq(chosen)
            for part in range(shape.parts):
                own = (
                    load.enable & (load.word == chosen) & (load.part == group * shape.parts + part)
                )
                value = Signal(shape.part_bits, name=f"value_{group}_{part}")
                with m.If(own):
                    m.d.sync += value.eq(load.data)
                stored.append(value)
                held = look.data[part * shape.part_bits :][: shape.part_bits]
                # A cycle for each group on the way, one to the RAM and one into it.
                bench.lemma((chosen >= WORDS) | (held == bench.past(value, group + 2)))
            share, age = Cat(stored), LATENCY + group
            bench.prove(
                f"group {group}: its share of each word in turn, {group} cycles after the first's",
                ~bench.past(asked, age) | (words.data[group] == bench.past(share, age)),
            )
        bench.prove("available, unless it is paused", words.available == ~block.pause)
        again = bench.past(words.restart & (taken == 3), LATENCY + 4) & bench.past(asked, LATENCY)
        bench.cover(
            "a word that is not 0 is taken again after a restart", again & words.data[-1].any()
        )
        return bench

    return build


PROOFS = [
    Proof("block_source", source(4), depth=9, quick=True),
    Proof("block_source_2_groups", source(6), depth=10),
    Proof("block_source_3_groups", source(9), depth=11),
]
