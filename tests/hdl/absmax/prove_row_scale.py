"""Row scale: the product of element and scale, rounded to the residual's format."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal, Value, signed

from hdl.absmax.row_scale import LATENCY, MOST_LEFT, MOST_RIGHT, RowScale
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.product_tree import product_tree


def scaled() -> Bench:
    """Exact products are shown by levels; the scale is any in every cycle."""
    bench = Bench(RowScale(small_design(1, 4, 4, arithmetic="absmax", value_bits=32)))
    block = bench.block
    shift = bench.some(signed(6), "shift")
    bench.assume(
        "a shift that a tape can have, and always the same",
        (block.shift == shift) & (shift >= -MOST_LEFT) & (shift <= MOST_RIGHT),
        by="the check of a tape: 11 to 40 fraction bits (docs/tape.md)",
    )
    (product,) = block.products
    element = Value.cast(block.elements[0]).as_signed()
    total = product_tree(
        bench,
        product,
        block.scale,
        element,
        None,
        say=lambda words, condition: bench.lemma(condition),
    )
    right = Signal(5, name="right")
    bench.m.d.comb += right.eq(Mux(shift > 0, shift - 1, 0))
    rounded = ((total >> right) + 1) >> 1
    left = Signal(3, name="left")
    bench.m.d.comb += left.eq(Mux(shift > 0, 0, -shift))
    exact = Mux(shift > 0, rounded, total << left)
    filled = bench.after(LATENCY + 1)
    expected = bench.past(exact, LATENCY - product.latency)
    bench.prove("rounded, or shifted up", ~filled | (block.o[0] == expected))
    bench.cover("down by 22", filled & (shift == MOST_RIGHT) & (block.o[0] == -2))
    bench.cover("up by 7", filled & (shift == -MOST_LEFT) & (block.o[0] < 0))
    return bench


PROOFS = [Proof("row_scale", scaled, depth=LATENCY + 1, section="absmax 2")]
