"""Requantization: the product of accumulator and factor, rounded, shifted and saturated."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Mux, Signal, Value, signed

from hdl.absmax.requantize import LATENCY, Z_BITS, Requantize, shifted_by
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.notation import sat
from tests.support.proofs.product_tree import product_tree


def shifts() -> Bench:
    """Bit by bit, in either order."""
    bench = Bench()
    value, shift = bench.any(signed(44), "value"), bench.any(6, "shift")
    for bits in (range(6), range(5, -1, -1)):
        low = min(bits)
        bench.prove(
            f"bits {list(bits)}: shifted", shifted_by(value, shift, bits) == value >> (shift >> low)
        )
    bench.cover("by 43", (shift == 43) & (value < 0))
    return bench


def requantized(accumulator_bits: int, lanes: int) -> Bench:
    """Exact products are shown by levels, since no solver would multiply."""
    bench = Bench(Requantize(accumulator_bits, lanes))
    block = bench.block
    product_cycles = block.products[0].latency
    shift = _shift(bench, product_cycles)
    filled = bench.after(LATENCY + 1)
    rest = LATENCY - product_cycles
    shift_then = bench.past(shift, rest)
    for p, product in enumerate(block.products):
        total = product_tree(
            bench,
            product,
            Value.cast(block.acc[p]).as_signed(),
            block.factor,
            None,
            say=lambda words, condition: bench.lemma(condition),
        )
        # rnd(total, shift), where shift is not 0.
        rounded = Signal(signed(len(total) + 1), name=f"rounded_{p}")
        bench.m.d.comb += rounded.eq(((total >> (shift - 1)[:6]) + 1) >> 1)
        whole = Mux(total == 0, 0, Mux(total < 0, -1 << Z_BITS, 1 << Z_BITS))
        exact = bench.past(Mux(shift == 0, whole, rounded), rest)
        expected = sat(exact, Z_BITS)
        bench.prove(f"lane {p}: z", ~filled | (block.z[p] == expected))
        bench.prove(
            f"lane {p}: whether it was clamped",
            ~filled | (block.saturated[p] == (expected != exact)),
        )
    lowest = block.saturated[0] & (block.z[0] == -1 << Z_BITS - 1)
    bench.cover("clamped downwards, after a shift of 2", filled & lowest & (shift_then == 2))
    bench.cover("by a shift of 0", filled & block.saturated[0] & (shift_then == 0))
    return bench


def _shift(bench: Bench, product_cycles: int) -> Value:
    """The shift that belongs to a product which is there; the block has it, less 1, and whether it
    is 0.
    """
    inner = bench.inside(bench.block)
    registers = inner.all("register")
    less, zero = (
        [inner["dropped"], *registers[: product_cycles + 1]],
        registers[product_cycles + 1 :],
    )
    shifts: list[Value] = [bench.block.shift]
    for n in range(len(zero)):
        shifts.append(bench.past(shifts[-1]))
        lemma = zero[n] == (shifts[-1] == 0)
        if n < len(less):
            lemma &= less[n] == Mux(shifts[-1] == 0, 0, shifts[-1] - 1)
        bench.lemma(~bench.after(n + 1) | lemma)
    assert len(less) < len(zero)
    return shifts[1 + product_cycles]


PROOFS = [
    Proof("absmax_requantize_shifts", shifts, depth=1, reach=1, section="absmax 8"),
    *(
        Proof(
            f"absmax_requantize_{bits}",
            partial(requantized, bits, lanes),
            depth=LATENCY + 1,
            section="absmax 8",
        )
        for bits, lanes in ((11, 1), (21, 1))
    ),
]
