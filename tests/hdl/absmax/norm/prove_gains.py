"""The gain unit: every turn of a group, its product exact, and its highest bits."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal

from hdl.absmax.norm.gains import LATENCY, GainUnit
from hdl.absmax.norm.largest import largest_levels
from hdl.arithmetic.product import product_latency
from hdl.payloads import CUT, EARLY
from tests.support.hdl.cuts import absmax_design
from tests.support.proofs.bench import Bench, Proof

BITS, GAIN_BITS = 28, 24
TOP = BITS + GAIN_BITS - 1


class GainBench(Bench):
    """A gain unit of one lane; ``age``: cycles since the last group, 0 when it comes."""

    def __init__(self) -> None:
        super().__init__(GainUnit(absmax_design(4, 4, 16)))
        block, m = self.block, self.m
        valid = block.elements.valid
        self.turns = self.some(2, "log_turns")
        m.d.comb += block.turns.eq(self.turns)
        self.assume("T is 1, 2 or 4", self.turns < 3, by="the layout")
        self.span = (1 << self.turns)[:3]
        since = Signal(3, init=7)
        m.d.sync += since.eq(Mux(valid, 1, Mux(since == 7, 7, since + 1)))
        self.assume(
            "a group comes T cycles after another, or later",
            ~valid | (since >= self.span) | (since == 7),
            by="RowBlocks and Embedding",
        )
        self.since = since

    def choose(self, *inputs: object) -> None:
        """All inputs but the turns, which stay."""
        turns = self.block.turns
        super().choose(*(one for one in inputs if one is not turns))


def turns() -> Bench:
    """When something is written, squared and done, and what gains are asked for."""
    bench = GainBench()
    block = bench.block
    elements, since, span = block.elements, bench.since, bench.span
    busy = (since != 7) & (since <= span)
    turn = since - 1
    bench.prove("gains are asked for in T cycles after each group", block.gains.next == busy)
    inner = bench.inside(block)
    bench.lemma(~busy | (inner["turn"] == turn[:2]))
    # The group in progress.
    keep, ends = Signal(), Signal()
    bench.m.d.sync += [
        keep.eq(Mux(elements.valid, elements.keep, keep)),
        ends.eq(Mux(elements.valid, elements.end, ends)),
    ]
    for_norm = (span > 1) & (since == span)
    delayed = LATENCY - 1
    written = bench.past(busy & ~for_norm & keep, delayed)
    bench.prove("products for matrices are written", block.write.enable == written)
    squared = bench.past(busy & (for_norm | (since == 1)), delayed)
    bench.prove("that for the norm is squared, and the base", block.squares.valid == squared)
    of_base = bench.past((since == 1) & (span > 1), delayed)
    bench.prove(
        "the base apart, unless there is no norm",
        ~block.squares.valid | (block.squares.of_base == of_base),
    )
    last = busy & ends & (since == Mux(span == 1, 1, span - 1))
    early = EARLY - largest_levels(absmax_design(4, 4, 16))
    bench.prove(
        "done in time before the last write", block.vector_done == bench.past(last, delayed - early)
    )
    bench.cover("done with four turns", block.vector_done & (span == 4))
    return bench


def highest_bits() -> Bench:
    """What is made of a product of mantissas; that it is right is shown of Product itself."""
    bench = GainBench()
    block = bench.block
    o, gain = block.products[0].o, block.cut.o[0]
    held = Signal(CUT)
    value, keep = block.elements.value[0], block.elements.keep
    with bench.m.If(block.elements.valid):
        bench.m.d.sync += held.eq(Mux(keep, value.as_value(), 0))
    value_from = 1 + len(block.elements.group) + len(keep)
    bench.lemma(bench.inside(block)["held"][value_from:][: len(held.as_value())] == held.as_value())
    bench.assume(
        "a product of mantissas has 51 bits or 52, or is 0",
        (o[: TOP + 1] == 0) | o[TOP - 1 : TOP + 1].any(),
        by="the elements, and Cut: the highest bit of each mantissa is set",
    )
    product = bench.past(o[: TOP + 1])
    found, filled = product != 0, bench.after(LATENCY)
    v, x = block.write.data[0], CUT(bench.past(held.as_value(), LATENCY - 1))
    to_write = product_latency(GAIN_BITS) + 1
    lengths = x.exponent + bench.past(gain.exponent, to_write)
    normal = Mux(product[TOP], product, product << 1)[: TOP + 1]
    bench.prove(
        "the mantissa is the highest bits of the product",
        ~filled | (v.mantissa == normal[TOP + 1 - BITS :]),
    )
    bench.prove(
        "the exponent is the sum of both, or one less",
        ~filled | ~found | (v.exponent == (lengths - ~product[TOP])[:7]),
    )
    sign = x.negative ^ bench.past(gain.negative, to_write)
    bench.prove("the sign is that of the product", ~filled | ~found | (v.negative == sign))
    bench.prove(
        "of 0 sign and exponent are 0", ~filled | found | ~Cat(v.negative, v.exponent).any()
    )
    bench.cover("a product of 51 bits", filled & found & ~product[TOP])
    return bench


PROOFS = [
    Proof("gain_turns", turns, depth=LATENCY + 2, reach=LATENCY + 8, section="absmax 3"),
    Proof("gain_bits", highest_bits, depth=LATENCY + 2, reach=LATENCY + 8, section="absmax 3"),
]
