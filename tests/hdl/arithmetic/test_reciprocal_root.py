"""Reciprocal roots against integer division and math.isqrt."""

from __future__ import annotations

import math
import random
from typing import Any

from amaranth.back import rtlil

from hdl.arithmetic.reciprocal_root import LATENCY, ReciprocalRoot
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import forbidden_cells
from tests.support.hdl.bench import simulate

LOWEST, HIGHEST = 1 << 28, (1 << 30) - 1


def root_of(divisor: int) -> int:
    return math.isqrt((1 << 62) // divisor << 14)


def divisors() -> list[int]:
    """The limits, whole roots and their neighbours, powers of two, and many more."""
    rng = random.Random(0)
    found = [LOWEST, LOWEST + 1, (1 << 29) - 1, 1 << 29, HIGHEST]
    for root in (1 << 23, (1 << 24) - 1, *(rng.randrange(1 << 23, 1 << 24) for _ in range(20))):
        middle = (1 << 76) // root**2
        found += [min(max(middle + n, LOWEST), HIGHEST) for n in (-1, 0, 1)]
    return found + [rng.randrange(LOWEST, HIGHEST + 1) for _ in range(60)]


def test_roots() -> None:
    block = ReciprocalRoot()
    rng = random.Random(1)

    async def bench(ctx: Any) -> None:
        for number, divisor in enumerate(divisors()):
            if number % 5 == 0:
                # Another one is given up at any time.
                ctx.set(block.start, 1)
                await ctx.tick()
                ctx.set(block.start, 0)
                await ctx.tick().repeat(rng.randint(1, LATENCY))
            ctx.set(block.start, 1)
            ctx.set(block.divisor, rng.randrange(LOWEST))
            await ctx.tick()
            ctx.set(block.start, 0)
            ctx.set(block.divisor, divisor)
            await ctx.tick().repeat(LATENCY - 1)
            ctx.set(block.divisor, rng.randrange(LOWEST))
            for _ in range(2):
                assert ctx.get(block.root) == root_of(divisor), divisor
                await ctx.tick()

    simulate(block, bench)
    roots = [root_of(divisor) for divisor in divisors()]
    assert (min(roots), max(roots)) == (1 << 23, 1 << 24)


def test_it_is_made_of_additions() -> None:
    for technology in (Technology.GENERIC, Technology.ECP5):
        block = ReciprocalRoot()
        assert not forbidden_cells(
            rtlil.convert(block, name="root", emit_src=False, platform=technology)
        )
