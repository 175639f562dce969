"""Requantization: the product of accumulator and scale, rounded, shifted and saturated."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Mux, Signal, Value, signed

from hdl.arithmetic.requantize import Requantize, saturate
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.notation import sat
from tests.support.proofs.product_tree import product_tree

LARGEST_SHIFT = 28


def saturation() -> Bench:
    """To each width in use, and to one that holds every value."""
    bench = Bench()
    value = bench.any(signed(20), "value")
    for bits in (8, 16, 19):
        result, over = saturate(value, bits)
        bench.prove(f"to {bits} bits: clamped", result == sat(value, bits))
        bench.prove(f"to {bits} bits: said if so", over == (sat(value, bits) != value))
        bench.cover(f"to {bits} bits: the lowest value is clamped", over & (result < 0))
    result, over = saturate(value, 20)
    bench.prove("to its own width: never", (result == value) & ~over)
    return bench


def requantized(accumulator_bits: int, lanes: int) -> Bench:
    """Exact products are shown by levels, since no solver would multiply."""
    bench = Bench(Requantize(accumulator_bits, lanes))
    block = bench.block
    bench.assume(
        "a shift of at most 28",
        block.shift <= LARGEST_SHIFT,
        by="the check of a tape: e <= 13, and k <= 15 (docs/arithmetic.md, 7)",
    )
    product_cycles = block.products[0].latency
    shift = bench.past(block.shift)
    half = Mux(shift == 0, 0, 1 << (shift - 1)[:5])
    addend = Signal(LARGEST_SHIFT, name="half")
    bench.m.d.comb += addend.eq(half)
    exact_shift = bench.past(shift, product_cycles)
    wide = bench.past(block.wide, product_cycles)
    filled = bench.after(block.latency + 1)
    rest = block.latency - product_cycles
    shift_then = bench.past(exact_shift, rest)
    for p, product in enumerate(block.products):
        total = product_tree(
            bench,
            product,
            Value.cast(block.acc[p]).as_signed(),
            block.scale,
            addend,
            say=lambda words, condition: bench.lemma(condition),
        )
        rounded = Signal(signed(len(total)), name=f"rounded_{p}")
        bench.m.d.comb += rounded.eq(total >> exact_shift)
        for bits, chosen in ((8, ~wide), (16, wide)):
            asked = filled & bench.past(chosen, rest)
            expected = bench.past(sat(rounded, bits), rest)
            bench.prove(f"lane {p}, int{bits}: z", ~asked | (block.z[p] == expected))
            over = bench.past(sat(rounded, bits) != rounded, rest)
            same = block.saturated[p] == over
            bench.prove(f"lane {p}, int{bits}: whether it was clamped", ~asked | same)
    upwards = block.saturated[0] & (block.z[0] == 127)
    bench.cover("clamped upwards, after a shift of 11", filled & upwards & (shift_then == 11))
    return bench


PROOFS = [
    Proof("requantize_saturation", saturation, depth=1, reach=1),
    *(
        Proof(f"requantize_{bits}", partial(requantized, bits, lanes), depth=11, section="7")
        for bits, lanes in ((17, 2), (25, 1))
    ),
]
