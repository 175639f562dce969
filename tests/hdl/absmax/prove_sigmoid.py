"""The sigmoid by pairs: docs/arithmetic_absmax.md, 9, for every pair that a tape may hold."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal, Value, unsigned

from hdl.absmax.sigmoid import INDEX_LATENCY, LATENCY, SIGMOID_BITS, Sigmoid
from hdl.fabric.technology import Technology
from hdl.memory.loaded_memory import LATENCY as TABLE_LATENCY
from tests.support.proofs.bench import Bench, per_technology
from tests.support.proofs.product_tree import product_tree

ONE = 1 << 24
ANSWERED = INDEX_LATENCY + TABLE_LATENCY


def sigmoid(technology: Technology) -> Bench:
    """The pair of each cycle is the solver's: that of any table, for any value."""
    bench = Bench(Sigmoid(1))
    block = bench.block
    z, pair = block.z[0], block.pair[0]
    bench.assume(
        "the table does not rise above 1",
        pair.value + pair.rise <= ONE,
        by="the check of a tape: value + rise of a word is at most 2^24",
    )
    # The magnitude, as a number of 33 bits; of its parts what each cycle needs.
    exact = Signal(unsigned(33))
    bench.m.d.comb += exact.eq(Mux(z < 0, -z, z))
    magnitude = bench.past(exact)
    inner = bench.inside(block, technology)
    filled = bench.after(1)
    bench.lemma(~filled | (inner["magnitude_0"] == magnitude))
    bench.prove(
        "the table is asked for |z| / 2^12", ~filled | (block.address[0] == magnitude[12:24])
    )
    part = bench.past(inner["magnitude_0"][:12], TABLE_LATENCY)
    addend = Cat(Const(1 << 11, 12), pair.value)
    total = product_tree(
        bench,
        block.products[0],
        pair.rise,
        part,
        addend,
        say=lambda words, condition: bench.lemma(condition),
        technology=technology,
    )
    # The tree adds exactly: value * 2^12 + half + rise * part, whose bits from the 12th up count.
    line = bench.past(Value.cast(total >> 12))
    z_then, magnitude_then = bench.past(z, LATENCY), bench.past(exact, LATENCY)
    beyond = magnitude_then >= ONE
    filled = bench.after(LATENCY)
    y = Mux(beyond, ONE, line)
    o = block.o[0]
    bench.prove("above 0 it is the line, or 1", ~filled | (z_then < 0) | (o == y))
    bench.prove(
        "below 0 it is 1 minus that", ~filled | (z_then >= 0) | (o == (ONE - y)[:SIGMOID_BITS])
    )
    bench.prove("of the lowest value it is 0", ~filled | (z_then != -(1 << 31)) | (o == 0))
    bench.cover("half of a rise", filled & (z_then == -2048) & (o == ONE // 2 - 100))
    return bench


PROOFS = per_technology("sigmoid", sigmoid, Technology.GENERIC, Technology.ECP5, depth=LATENCY + 2)
