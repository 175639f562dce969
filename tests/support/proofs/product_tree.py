"""A product's tree of sums, level by level, against plain sums of shifted operands."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from amaranth.hdl import Mux, Shape, Signal, Value, signed

from hdl.arithmetic.product import Product
from tests.support.proofs.bench import Bench

ADDEND = -1
"""Stands for the addend among the bits of b."""


def groups_by_level(num_bits: int, addend: bool) -> list[list[list[int]]]:
    """The bits of b that each register of each level stands for.

    Pairs of bits from the top one down, then neighbours. The addend goes with a single lowest bit,
    or is alone.
    """
    groups = [list(range(top, max(top - 2, -1), -1)) for top in range(num_bits - 1, -1, -2)]
    if addend and num_bits % 2:
        groups[-1].append(ADDEND)
    elif addend:
        groups.append([ADDEND])
    levels = [groups]
    while len(groups) > 1:
        groups = [list(chain(*groups[n : n + 2])) for n in range(0, len(groups), 2)]
        levels.append(groups)
    return levels


def product_tree(
    bench: Bench,
    product: Product,
    a: Value,
    b: Value,
    addend: Value | None,
    *,
    say: Callable[[str, Value], None] | None = None,
    technology: object = None,
) -> Signal:
    """The sum of a shifted to each set bit of b, and of the addend, when the product is there.

    Registers beside those of the product add in the same order, or no solver would compare them;
    ``say`` (``bench.prove``) is told of each level that they agree. A bit of b's two's complement
    weighs a power of two, so a sum over all of them is a * b. ``a``, ``b``, ``addend``: what the
    product gets.
    """
    say = say or bench.prove
    registers = bench.inside(product, technology).all("register")
    shape = signed(len(product.o))
    levels = groups_by_level(len(b), addend is not None)
    assert len(registers) == sum(map(len, levels))

    def term(bit: int) -> Value:
        if bit == ADDEND:
            assert addend is not None
            return addend
        sign = Shape.cast(b.shape()).signed and bit == len(b) - 1
        return Mux(b[bit], (-a if sign else a) << bit, 0)

    ghosts: list[Signal] = []
    for level, groups in enumerate(levels):
        before, ghosts = ghosts, []
        agree = Value.cast(1)
        for n, group in enumerate(groups):
            summands = before[2 * n : 2 * n + 2] if level else [term(bit) for bit in group]
            ghost = Signal(shape, name=f"ghost_{level}_{n}", reset_less=True)
            bench.m.d.sync += ghost.eq(sum(summands[1:], summands[0]))
            weight = max(0, min(group))
            agree &= ghost == registers.pop(0) << weight
            ghosts.append(ghost)
        say(f"level {level}: {len(groups)} sums are exact", agree)
    (total,) = ghosts
    return total
