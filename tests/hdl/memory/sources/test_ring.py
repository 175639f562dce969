"""Words from one clock to another: in order, none lost, and no more promised than there is room."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.memory.sources.ring import Ring
from tests.support.hdl.axi_memory import TwoClocks

DEPTH, BURST = 16, 4
WORDS = 120


@pytest.mark.parametrize("ratio", [1.0, 1.3, 1 / 3, 4.0, 0.25])
@pytest.mark.parametrize(("coming", "going"), [(1.0, 1.0), (0.3, 1.0), (1.0, 0.3), (0.5, 0.5)])
def test_words_pass_in_order(ratio: float, coming: float, going: float) -> None:
    """Both sides as fast as they may be, or not; emptied and filled."""
    ring, rng = Ring(8, DEPTH, BURST), random.Random(4)
    clocks = TwoClocks(ring, ratio)
    words = [rng.getrandbits(8) for _ in range(WORDS)]
    counts = {"asked": 0, "written": 0, "taken": 0}

    async def fill(ctx: Any) -> None:
        since = 2
        while counts["asked"] < WORDS or counts["written"] < WORDS:
            asks = since >= 2 and ctx.get(ring.room) and counts["asked"] < WORDS
            size = rng.randint(1, BURST) if asks else 0
            size = min(size, WORDS - counts["asked"])
            since = 0 if size else since + 1
            awaited = counts["asked"] - counts["written"]
            assert ctx.get(ring.awaited) == (awaited > 0)
            write = awaited > 0 and rng.random() < coming
            ctx.set(ring.ask, size)
            # A word that nobody asked for is no word.
            ctx.set(ring.write, write or not awaited)
            ctx.set(ring.i, words[counts["written"]] if write else 0xEE)
            counts["asked"] += size
            counts["written"] += write
            assert counts["asked"] - counts["taken"] <= DEPTH
            await ctx.tick("bus")
        ctx.set(ring.ask, 0)
        ctx.set(ring.write, 1)
        while True:
            await ctx.tick("bus")

    async def empty(ctx: Any) -> None:
        seen: list[int] = []
        while len(seen) < WORDS:
            level = ctx.get(ring.level)
            assert level <= counts["written"] - counts["taken"]
            take = level > 0 and rng.random() < going
            ctx.set(ring.take, take)
            # The place is free from the edge on, not before it.
            await ctx.tick()
            counts["taken"] += take
            for _ in range(ring.LATENCY - 1):
                await ctx.tick()
            if take:
                seen.append(ctx.get(ring.o))
        assert seen == words
        ctx.set(ring.take, 0)
        for _ in range(20):
            await ctx.tick()
            assert ctx.get(ring.level) == 0
            assert ctx.get(ring.o) == words[-1]

    clocks.run(empty, [], fill)


def test_a_ring_that_nobody_empties_is_filled_and_no_more() -> None:
    """And is empty again when both sides forget their words."""
    ring = Ring(8, DEPTH, BURST)
    clocks = TwoClocks(ring)

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            asked = 0
            for _ in range(DEPTH):
                if ctx.get(ring.room):
                    ctx.set(ring.ask, BURST)
                    asked += BURST
                await ctx.tick("bus")
                ctx.set(ring.ask, 0)
                await ctx.tick("bus")
            assert asked == DEPTH
            ctx.set(ring.write, 1)
            for word in range(2 * DEPTH):
                ctx.set(ring.i, word)
                await ctx.tick("bus")
            ctx.set(ring.write, 0)
            assert not ctx.get(ring.awaited)
            await ctx.tick().repeat(6)
            assert ctx.get(ring.level) == DEPTH
            ctx.set(ring.take, 1)
            for word in range(5):
                await ctx.tick()
                assert ctx.get(ring.o) == word
            ctx.set(ring.take, 0)
            ctx.set(ring.clear, 1)
            ctx.set(ring.zero, 1)
            await ctx.tick().repeat(8)
            ctx.set(ring.clear, 0)
            ctx.set(ring.zero, 0)
            await ctx.tick().repeat(8)
            assert ctx.get(ring.level) == 0

    clocks.run(bench, [])
