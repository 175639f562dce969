"""The adder with a gated operand, as the synthesizer's and in the cells of two parts: exact."""

from __future__ import annotations

from amaranth.hdl import Mux, Value, signed, unsigned

from hdl.arithmetic.gated_adder import gated_pair, gated_sum
from hdl.fabric.technology import Technology
from tests.support.proofs.bench import Bench, per_technology

A_BITS, B_BITS, BITS = 10, 8, 12
NARROW_BITS = 5


def sums(technology: Technology) -> Bench:
    """With every gate; the cells of an UltraScale+ in part of a CARRY8, and in two of them."""
    bench = Bench()
    a, b = bench.any(signed(A_BITS), "a"), bench.any(signed(B_BITS), "b")
    enable, negative, carry = (bench.any(1, name) for name in ("enable", "negative", "carry"))
    plain = gated_sum(bench.m, technology, a, b, bits=BITS)
    gated = gated_sum(bench.m, technology, a, b, bits=BITS, enable=enable, negative=negative)
    carried, narrow = (
        gated_sum(
            bench.m, technology, a, b, bits=bits, enable=enable, negative=negative, carry=carry
        )
        for bits in (BITS, NARROW_BITS)
    )
    operand = Mux(enable, Mux(negative, -1 - b, b), 0)
    bench.prove("without gates: a + b", plain == a + b)
    bench.prove("enabled: a + b, or a - b", ~enable | (gated == Mux(negative, a - b, a + b)))
    bench.prove("disabled: a and the carry, whatever b", enable | (gated == a + negative))
    bench.prove("with a carry of its own", carried == a + operand + carry)
    wrapped = (a + operand + carry)[:NARROW_BITS]
    bench.prove("narrower than its operands: the lowest bits", Value.cast(narrow)[:] == wrapped)
    bench.cover("the least b is subtracted", enable & negative & (b == -128) & (gated == 639))
    return bench


def pairs(technology: Technology) -> Bench:
    bench = Bench()
    low, high = bench.any(1, "low"), bench.any(1, "high")
    for shape, sign in ((unsigned(9), "unsigned"), (signed(9), "signed")):
        a = bench.any(shape, f"a_{sign}")
        once, twice = Mux(low, a, 0), Mux(high, a + a, 0)
        added = gated_pair(bench.m, technology, a, low, high)
        subtracted = gated_pair(bench.m, technology, a, low, high, subtract=True)
        bench.prove(f"{sign}: a and twice a, each if asked", added == once + twice)
        bench.prove(f"{sign}: minus twice a", subtracted == once - twice)
        bench.cover(f"{sign}: the largest sum", added == (3 * 511 if sign == "unsigned" else 765))
    return bench


PROOFS = [
    *per_technology("gated_adder_sums", sums, *Technology, depth=1, reach=1, quick=True),
    # The UltraScale+ has no cells of its own for pairs.
    *per_technology(
        "gated_adder_pairs",
        pairs,
        Technology.GENERIC,
        Technology.ECP5,
        depth=1,
        reach=1,
        quick=True,
    ),
]
