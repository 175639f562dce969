"""The wide state update: docs/arithmetic_absmax.md, 10, and that it cannot overflow.

The product is the solver's: a tree of 33 x 21 bits is too large for it (tests/hdl/arithmetic/
prove_product.py has the trees that are not).
"""

from __future__ import annotations

from amaranth.hdl import Mux, Signal, signed

from hdl.absmax.update_state import LATENCY, UpdateState
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.parts import leave_out

ONE = 1 << 20
"""1 as a value of f."""


def update_state() -> Bench:
    bench = Bench(UpdateState(1))
    block = bench.block
    load, c, h, o = block.load[0], block.c[0], block.h[0], block.o[0]
    (product,) = block.products
    leave_out(bench, product)
    filled = bench.after(1)
    step = bench.past(c) - bench.past(h)
    bench.prove("c - h is multiplied", ~filled | (product.a == step))
    bench.prove("by 2^20 - f", ~filled | (product.b == bench.past(load)))
    bench.prove("and a half is added", product.addend == ONE // 2)

    filled = bench.after(LATENCY)
    h, c = bench.past(h, LATENCY), bench.past(c, LATENCY)
    total = bench.past(product.o)
    exact = Signal(signed(len(total) + 1))
    bench.m.d.comb += exact.eq(h + (total >> 20))
    bench.prove("h' is h and the product, rounded", ~filled | (o == exact[:32].as_signed()))
    # A product with 0..2^20 lies between 0 and 2^20 times the other factor.
    most = Signal(signed(len(total)))
    bench.m.d.comb += most.eq((c - h) << 20)
    product_then = total - ONE // 2
    inside = Mux(
        most >= 0,
        (product_then >= 0) & (product_then <= most),
        (product_then <= 0) & (product_then >= most),
    )
    bench.assume(
        "the product lies between 0 and c - h",
        ~filled | inside,
        by="Product, and f from 0 to 1: Gates, and the check of a tape",
    )
    bench.prove("c is the higher: h' is between", ~filled | (c < h) | ((o >= h) & (o <= c)))
    bench.prove("c is the lower: h' is between", ~filled | (c > h) | ((o <= h) & (o >= c)))
    bench.cover("halfway, downwards", filled & (h == 100) & (c == -100) & (o == 0))
    return bench


PROOFS = [Proof("absmax_update_state", update_state, depth=LATENCY + 2, quick=True)]
