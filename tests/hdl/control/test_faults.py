"""The first fault of a pass is kept, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from hdl.control.faults import Faults
from mmfree.chip.memory_map import LOADED_MEMORIES
from tests.support.hdl.bench import simulate
from tests.support.hdl.values import small_design


@pytest.mark.parametrize("name", LOADED_MEMORIES)
def test_the_first_fault_is_kept_until_the_next_token(name: str) -> None:
    block = Faults(small_design(2, 4, 4))

    async def bench(ctx: Any) -> None:
        ctx.set(block.segment, 2)
        await ctx.tick()
        assert not ctx.get(block.faults.any)
        for _ in range(2):
            ctx.set(block.found[name], 1)
            await ctx.tick()
            ctx.set(block.found[name], 0)
            other = "biases" if name != "biases" else "tables"
            ctx.set(block.found[other], 1)
            ctx.set(block.segment, 1)
            await ctx.tick()
            ctx.set(block.found[other], 0)
            # The first fault has come through, and a cycle later the second.
            for _ in range(2):
                assert ctx.get(block.faults.any)
                first = ctx.get(block.faults.first)
                assert LOADED_MEMORIES[int(first.memory)] == name
                assert int(first.segment) == (1 if name == "weights" else 2)
                await ctx.tick()
            ctx.set(block.segment, 2)
            ctx.set(block.clear, 1)
            await ctx.tick()
            ctx.set(block.clear, 0)
            assert not ctx.get(block.faults.any)

    simulate(block, bench)
