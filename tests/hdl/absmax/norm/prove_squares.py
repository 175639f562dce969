"""Bins of squares: what an element adds, and that each bin holds the sum of it, to the last bit."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal

from hdl.absmax.norm.squares import LATENCY, SquareBins
from hdl.fabric.technology import Technology
from tests.support.proofs.bench import Bench, per_technology

BITS = 72
SHIFTED = LATENCY - 2
"""Cycle in which an element is added, counted from its own."""


def addends(technology: Technology) -> Bench:
    """That squares are right is shown of UnsignedSquare."""
    bench = Bench(SquareBins(BITS))
    block, element = bench.block, bench.block.element
    inner = bench.inside(block, technology)
    square, rounded = inner.part("square"), inner["rounded"]
    comes, filled = bench.past(block.valid, SHIFTED), bench.after(SHIFTED)
    bench.prove(
        "18 bits of the mantissa are left, rounded",
        ~bench.after(1) | (rounded == bench.past((element.mantissa + 512) >> 10)),
    )
    squared = Cat(square.o, bench.past(rounded[18], square.latency))
    shift = Cat(Const(0, 1), bench.past(element.exponent[:4], SHIFTED))
    shifted = (bench.past(squared, 2) << shift)[:BITS]
    bench.prove(
        "an element adds its square, shifted up by twice the low bits of its exponent",
        ~filled | (inner["addend"] == Mux(comes, shifted, 0) | bench.past(block.carried)),
    )
    bench.cover("the largest shift", filled & comes & (inner["addend"] >> 64 != 0))
    return bench


def sums(technology: Technology) -> Bench:
    """The solver chooses the bin."""
    bench = Bench(SquareBins(BITS))
    block, m = bench.block, bench.m
    inner = bench.inside(block, technology)
    addend, begun, at = inner["addend"], inner["begun"], inner["at"]
    chosen = bench.some(4, "bin")
    half = BITS // 2
    low, high = (inner.part(name).read_port(domain="comb") for name in ("low", "high"))
    m.d.comb += [low.addr.eq(chosen), high.addr.eq(chosen)]
    here = begun.bit_select(chosen, 1)
    adds = inner["adds"] & (at == chosen)
    total = Signal(BITS)
    with m.If(adds):
        m.d.sync += total.eq(Mux(here, total, 0) + addend)
    was = bench.past(here)
    bench.lemma(~here | (low.data == total[:half]))
    bench.lemma(~here | ~was | bench.past(block.clear) | (high.data == bench.past(total)[half:]))
    bench.prove(
        "a bin is empty until something is added to it, or after a clear",
        here == (~bench.past(block.clear) & (was | bench.past(adds))),
    )
    reads = block.reading & (block.place == chosen) & ~block.clear
    read = bench.past(reads) & bench.past(reads, 2)
    before = Mux(bench.past(here, 2), bench.past(total, 2), 0)
    bench.prove(
        "a bin that is read is the sum of all that was added, and of what is carried",
        ~read | (block.total == (before + bench.past(addend, 2))[:BITS]),
    )
    bench.prove("and it tells whether it is empty", ~reads | (block.used == here))
    bench.cover("a bin of which both halves are used", read & (before >> half + 2 != 0))
    return bench


PROOFS = [
    *per_technology(
        "square_bins_addend", addends, Technology.GENERIC, depth=LATENCY + 1, section="absmax 5"
    ),
    *per_technology(
        "square_bins_sum",
        sums,
        Technology.GENERIC,
        Technology.ECP5,
        depth=5,
        reach=LATENCY + 8,
        section="absmax 5",
    ),
]
