"""The gated product: sections 11, 12 and 14 of the contract."""

from __future__ import annotations

from amaranth.hdl import Const, Value, unsigned

from hdl.fabric.technology import Technology
from hdl.pow2.gated_product import LATENCY, SHIFT, GatedProduct
from mmfree.contract.pow2 import silu_table
from tests.support.proofs.bench import Bench, per_technology
from tests.support.proofs.notation import sat
from tests.support.proofs.product_tree import product_tree

BITS = 16


def gated(technology: Technology) -> Bench:
    """The product is shown by levels; half of what is shifted out is its addend."""
    bench = Bench(GatedProduct(1, BITS))
    block = bench.block
    value, operand = block.value[0], block.operand[0]
    half = Const(1 << SHIFT - 1, unsigned(SHIFT))
    total = product_tree(
        bench,
        block.products[0],
        value,
        operand,
        half,
        say=lambda words, condition: bench.lemma(condition),
        technology=technology,
    )
    u, saturated = block.u[0], block.saturated[0]
    exact = bench.past(Value.cast(total >> SHIFT).as_signed())
    filled = bench.after(LATENCY)
    bench.prove("u is the product, rounded and clamped", ~filled | (u == sat(exact, BITS)))
    bench.prove("saturated: it was clamped", ~filled | (saturated == (u != exact)))
    # Of int8 and the contract's own table none is clamped.
    largest = int(max(abs(silu_table())))
    entry = (value >= -largest) & (value <= largest)
    small = bench.past(entry & (operand >= -128) & (operand < 128), LATENCY)
    bench.prove("never with an int8 and the contract's table", ~small | ~saturated)
    bench.cover("the lowest value, clamped", filled & saturated & (u < 0))
    return bench


PROOFS = per_technology(
    "gated_product", gated, Technology.GENERIC, Technology.ECP5, depth=7, section="11"
)
