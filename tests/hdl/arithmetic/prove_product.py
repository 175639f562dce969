"""Shift-and-add products: the tree of sums at the shapes in use, and small ones against ``*``."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Shape, Value, signed, unsigned

from hdl.arithmetic.product import Product
from hdl.fabric.technology import Technology
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.product_tree import product_tree

IN_USE = {
    "requantize": (signed(17), unsigned(9), 28),
    "scale": (unsigned(9), unsigned(8), 7),
    "state": (signed(17), unsigned(9), 8),
    "gated": (signed(16), signed(9), 6),
}

SMALL = {
    "unsigned": (unsigned(5), unsigned(4), 3),
    "signed": (signed(5), signed(4), 3),
    "mixed": (unsigned(4), signed(5), 0),
    "bit": (signed(6), unsigned(1), 2),
}


def tree(a_shape: Shape, b_shape: Shape, addend_bits: int, technology: Technology) -> Bench:
    """What each register stands for; the largest sum of all shows that all of it arrives."""
    bench = Bench(Product(a_shape, b_shape, addend_bits))
    block = bench.block
    a, b, addend = block.a, block.b, Value.cast(block.addend)
    total = product_tree(bench, block, a, b, addend, technology=technology)
    bench.prove("the last of them is the product", block.o == total)
    least_a = -(1 << a_shape.width - 1) if a_shape.signed else (1 << a_shape.width) - 1
    least_b = -(1 << b_shape.width - 1) if b_shape.signed else (1 << b_shape.width) - 1
    bench.cover("of the corners", block.o == least_a * least_b + (1 << addend_bits) - 1)
    return bench


def plain(a_shape: Shape, b_shape: Shape, addend_bits: int) -> Bench:
    bench = Bench(Product(a_shape, b_shape, addend_bits))
    block = bench.block
    expected = block.a * block.b + (block.addend if addend_bits else 0)
    exact = block.o == bench.past(expected, block.latency)
    bench.prove("a * b + addend", exact)
    bench.cover("a product that is not 0", bench.after(block.latency) & (block.o != 0))
    return bench


PROOFS = [
    *(
        Proof(f"product_{name}", partial(tree, *shapes, Technology.GENERIC), depth=6, section="17")
        for name, shapes in IN_USE.items()
    ),
    Proof(
        "product_gated_ecp5",
        partial(tree, *IN_USE["gated"], Technology.ECP5),
        depth=6,
        section="17",
        technology=Technology.ECP5,
    ),
    *(
        Proof(f"product_small_{name}", partial(plain, *shapes), depth=6, quick=name == "signed")
        for name, shapes in SMALL.items()
    ),
]
