"""The size of a vector against the golden quantizer's shift."""

from __future__ import annotations

from typing import Any

import numpy as np

from hdl.payloads import START_CYCLES
from hdl.pow2.vector_size import VectorSize
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import simulate
from tests.support.hdl.values import ints, small_design

WIDTH = 2
DESIGN = small_design(2, 2, 8, post_width=WIDTH)


def test_the_shift_is_that_of_the_kept_values_of_either_vector() -> None:
    """Padding and values that are not written are as large as possible, and do not count."""
    rng = np.random.default_rng(3)
    block = VectorSize(DESIGN)

    async def bench(ctx: Any) -> None:
        for trial in range(60):
            write, other = (block.x, block.u) if trial % 2 else (block.u, block.x)
            values = rng.integers(-32768, 32768, (5, WIDTH)) >> int(rng.integers(0, 17))
            kept = rng.random((5, WIDTH)) < (0.7 if trial else 0.0)
            for row, keep in zip(values, kept, strict=True):
                ctx.set(other.enable, 0)
                ctx.set(other.data, [-32768] * WIDTH)
                ctx.set(write.enable, 1)
                ctx.set(write.keep, sum(int(k) << p for p, k in enumerate(keep)))
                ctx.set(
                    write.data, [int(v) if k else -32768 for v, k in zip(row, keep, strict=True)]
                )
                await ctx.tick()
            ctx.set(write.enable, 0)
            # The header comes START_CYCLES - 2 cycles before the last write in the chip; here,
            # after it.
            ctx.set(block.load, 1)
            await ctx.tick()
            ctx.set(block.load, 0)
            await ctx.tick().repeat(START_CYCLES)
            _, shift = golden.quantize(ints(np.where(kept, values, 0).ravel()))
            assert ctx.get(block.shift) == shift[0], trial

    simulate(block, bench)
