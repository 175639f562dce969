"""The largest elements by magnitude, as they are written."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.absmax.norm.largest import Largest, largest_levels
from hdl.payloads import START_CYCLES
from mmfree.golden import cuts as golden
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.cuts import ZERO, Element, absmax_design, element, from_golden, golden_cut

SLOTS = 3


def vectors(rng: random.Random, width: int) -> list[list[list[Element]]]:
    """Three vectors that are written together: of every size, zero, and with equal exponents."""
    found = []
    for low, high in ((0, 87), (0, 0), (60, 60), (1, 30), (87, 87), (0, 1)):
        count = width * rng.randint(1, 9)
        found.append([[element(rng, low, high) for _ in range(count)] for _ in range(SLOTS)])
    found.append([[element(rng, 5, 80) for _ in range(width)], [ZERO] * width, [ZERO] * width])
    return found


@pytest.mark.parametrize("idle", [0.0, 0.5])
@pytest.mark.parametrize("width", [1, 2, 8])
def test_the_largest_of_each_slot(width: int, idle: float) -> None:
    rng = random.Random(width)
    design = absmax_design(8, 8, 64, width)
    block = Largest(design)

    async def write(ctx: Any, slot: int, group: list[Element], enable: int = 1) -> None:
        ctx.set(block.write.enable, enable)
        ctx.set(block.write.data, group)
        ctx.set(block.slot, slot)
        await ctx.tick()
        ctx.set(block.write.enable, 0)

    async def bench(ctx: Any) -> None:
        for three in vectors(rng, width):
            groups = [
                (slot, vector[n : n + width])
                for slot, vector in enumerate(three)
                for n in range(0, len(vector), width)
            ]
            rng.shuffle(groups)
            for slot, group in groups[:-1]:
                while rng.random() < idle:
                    await write(ctx, slot, [element(rng, 88, 127) for _ in range(width)], 0)
                await write(ctx, slot, group)
            # The last group comes as late as it may.
            latest = START_CYCLES - 1 - largest_levels(design)
            for cycle in range(START_CYCLES + 1):
                ctx.set(block.load, cycle == 0)
                await write(ctx, *groups[-1], int(cycle == latest))
            expected = [from_golden(golden.largest(golden_cut(vector)))[0] for vector in three]
            for _ in range(3):
                assert to_python(ctx.get(block.largest)) == expected
                await ctx.tick()

    simulate(block, bench)
