"""Squares of unsigned integers: against a plain product where a solver can, else row by row."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Mux, Signal, Value

from hdl.arithmetic.unsigned_square import UnsignedSquare
from hdl.fabric.technology import Technology
from tests.support.proofs.bench import Bench, Proof, per_technology


def square(bits: int, technology: Technology) -> Bench:
    bench = Bench(UnsignedSquare(bits))
    block = bench.block
    a = bench.past(block.a, block.latency)
    filled = bench.after(block.latency)
    bench.prove("a * a, for every a", ~filled | (block.o == a * a))
    bench.cover("the largest", filled & (block.o == ((1 << bits) - 1) ** 2))
    return bench


def rows(bits: int) -> Bench:
    """Registers beside those of the unit add the same rows in the same order.

    With a = 2^i h + 2^(i + 1) k + ..., the row of bit i is a_i * 2^i * (2^i + 2 * what is above
    it): all of them together are a * a.
    """
    bench = Bench(UnsignedSquare(bits))
    block, m = bench.block, bench.m
    registers = bench.inside(block).all("register")
    a = block.a

    def row(bit: int) -> Value:
        above = a >> bit + 1 << bit + 1
        return Mux(a[bit], ((above << 1) + (1 << bit)) << bit, 0)

    groups = [[bit, bit - 1] for bit in range(bits - 1, 0, -2)]
    ghosts: list[Signal] = []
    weights: list[int] = []
    level = 0
    while level == 0 or len(ghosts) > 1:
        before, ghosts, heights = ghosts, [], []
        agree = Value.cast(1)
        count = len(groups) if level == 0 else -(-len(before) // 2)
        for n in range(count):
            ghost = Signal(2 * bits, name=f"ghost_{level}_{n}", reset_less=True)
            if level == 0:
                total, weight = row(groups[n][0]) + row(groups[n][1]), 2 * groups[n][1]
            else:
                pair = before[2 * n : 2 * n + 2]
                total, weight = sum(pair[1:], Value.cast(pair[0])), min(weights[2 * n : 2 * n + 2])
            m.d.sync += ghost.eq(total)
            agree &= ghost == registers.pop(0) << weight
            ghosts.append(ghost)
            heights.append(weight)
        bench.prove(f"level {level}: {count} sums are exact", agree)
        weights, level = heights, level + 1
    assert not registers
    bench.prove("the sum leaves", block.o == ghosts[0])
    bench.cover(
        "the square of the largest",
        bench.after(block.latency) & (block.o == ((1 << bits) - 1) ** 2),
    )
    return bench


PROOFS = [
    *[
        proof
        for technology in (Technology.GENERIC, Technology.ECP5)
        for proof in per_technology(
            "unsigned_square_7", partial(square, 7), technology, depth=5, section="absmax 5"
        )
    ],
    Proof("unsigned_square_rows", partial(rows, 18), depth=6, section="absmax 5", quick=True),
]
