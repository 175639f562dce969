"""RMSNorm against its golden twin and the worked vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.rms_norm import RMSNorm
from mmfree import golden
from tests.hdl.bench import simulate, to_python
from tests.hdl.values import IDLE, ints
from tests.vectors import VECTORS

COLUMNS = 4


def vectors() -> list[np.ndarray]:
    """Vectors of int8 with sums of squares over the whole range: 0, 4096, powers of two and around, the largest."""
    rng = np.random.default_rng(0)
    found = [ints([0] * COLUMNS), ints([64, 0, 0, 0]), ints([-128, 0, 0, 0]), ints(VECTORS["quantizer"][0]["q"])]
    found += [ints([-128] * n) for n in (4, 8, 16, 64)]
    found += [ints([127, -128, 64, 65] * n) for n in (1, 3, 7)]
    for _ in range(40):
        values = rng.integers(-128, 128, COLUMNS * int(rng.integers(1, 6)))
        values[0] = 127
        found.append(ints(values))
    return found


@pytest.mark.parametrize("idle", IDLE)
def test_scale_and_exponent(idle: float) -> None:
    block = RMSNorm(COLUMNS)
    multipliers = [192, 256, 148]  # 192: halves occur
    rng = np.random.default_rng(1)

    async def bench(ctx: Any) -> None:
        ctx.set(block.multiplier, multipliers)
        for vector in vectors():
            ctx.set(block.clear, 1)
            await ctx.tick()
            ctx.set(block.clear, 0)
            words = vector.reshape(-1, COLUMNS).tolist()
            for number, word in enumerate(words):
                while rng.random() < idle:
                    ctx.set(block.valid, 0)
                    ctx.set(block.q, [-128] * COLUMNS)
                    await ctx.tick()
                ctx.set(block.valid, 1)
                ctx.set(block.first, number == 0)
                ctx.set(block.last, number == len(words) - 1)
                ctx.set(block.q, word)
                await ctx.tick()
                assert not ctx.get(block.done)
            ctx.set(block.valid, 0)
            ctx.set(block.q, [99] * COLUMNS)
            for cycle in range(1, block.latency):
                assert not ctx.get(block.done), f"done {block.latency - cycle} cycles early"
                await ctx.tick()
            s = ints([int((vector * vector).sum())])
            r, k = golden.rms_norm(s)
            for _ in range(3):
                assert ctx.get(block.done)
                assert ctx.get(block.exponent) == k[0], s
                expected = [int(golden.scale(r, m)[0]) for m in multipliers]
                assert to_python(ctx.get(block.scale)) == expected, s
                await ctx.tick()

    simulate(block, bench)


def test_the_worked_vector_is_among_them() -> None:
    """Section 5's q gives section 6's R and k, and M of its matrix."""
    q = ints(VECTORS["quantizer"][0]["q"])
    s, r, k = VECTORS["rms_norm"][0]
    assert int((q * q).sum()) == s
    assert VECTORS["scale"][0][:2] == [r, 148]
    assert k == 6
