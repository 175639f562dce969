"""The first fault of a pass is kept, with its place."""

from __future__ import annotations

import itertools
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


def test_of_several_in_one_cycle_that_of_the_lowest_memory_is_kept() -> None:
    block = Faults(small_design(2, 4, 4))

    async def bench(ctx: Any) -> None:
        for low, high in itertools.combinations(range(len(LOADED_MEMORIES)), 2):
            for flag in (1, 0):
                ctx.set(block.clear, 0)
                for number in (low, high):
                    ctx.set(block.found[LOADED_MEMORIES[number]], flag)
                await ctx.tick()
            assert ctx.get(block.faults.any)
            assert ctx.get(block.faults.first.memory) == low
            ctx.set(block.clear, 1)
            await ctx.tick()

    simulate(block, bench)


@pytest.mark.parametrize("examined", [0, 1, 4])
def test_a_fault_of_the_weights_is_of_the_segment_whose_check_word_it_is(examined: int) -> None:
    """The first is segment 1, in every pass; meanwhile the segment in progress is any."""
    design = small_design(2, 4, 4, header_words=6)
    block = Faults(design)

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            ctx.set(block.clear, 1)
            await ctx.tick()
            ctx.set(block.clear, 0)
            ctx.set(block.segment, design.header_words)
            ctx.set(block.checked, 1)
            for _ in range(examined):
                await ctx.tick()
            ctx.set(block.found.weights, 1)
            await ctx.tick()
            ctx.set(block.found.weights, 0)
            ctx.set(block.checked, 0)
            await ctx.tick()
            assert ctx.get(block.faults.first.segment) == examined + 1

    simulate(block, bench)
