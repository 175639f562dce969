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
        ctx.set(block.weight_segment, 1)
        await ctx.tick()
        assert not ctx.get(block.any)
        for _ in range(2):
            ctx.set(getattr(block, f"found_{name}"), 1)
            await ctx.tick()
            ctx.set(getattr(block, f"found_{name}"), 0)
            other = "biases" if name != "biases" else "tables"
            ctx.set(getattr(block, f"found_{other}"), 1)
            ctx.set(block.segment, 1)
            await ctx.tick()
            ctx.set(getattr(block, f"found_{other}"), 0)
            # The first fault has come through, and a cycle later the second.
            for _ in range(2):
                assert ctx.get(block.any)
                first = ctx.get(block.first)
                assert LOADED_MEMORIES[int(first.memory)] == name
                assert int(first.segment) == (1 if name == "weights" else 2)
                await ctx.tick()
            ctx.set(block.segment, 2)
            ctx.set(block.clear, 1)
            await ctx.tick()
            ctx.set(block.clear, 0)
            assert not ctx.get(block.any)

    simulate(block, bench)
