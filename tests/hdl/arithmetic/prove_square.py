"""The square of an int8 against a plain product."""

from __future__ import annotations

from hdl.arithmetic.square import Square
from tests.support.proofs.bench import Bench, Proof


def squares() -> Bench:
    bench = Bench(Square())
    block = bench.block
    a = bench.past(block.a, block.latency)
    filled = bench.after(block.latency)
    bench.prove("a * a, for every a", ~filled | (block.o == a * a))
    bench.cover("the square of -128", filled & (a == -128) & (block.o == 1 << 14))
    return bench


PROOFS = [Proof("square", squares, depth=5, section="5", quick=True)]
