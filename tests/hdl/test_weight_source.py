"""The weight source: order, latency and restart."""

from __future__ import annotations

import random
from typing import Any

from hdl.weight_source import LATENCY, BlockSource
from mmfree.design import LoadedShape
from tests.hdl.bench import fill, simulate


def test_words_come_in_order_each_once_and_again_after_a_restart() -> None:
    source = BlockSource(LoadedShape(16, 11, parity=False))
    rng = random.Random(3)
    words = [rng.getrandbits(16) for _ in range(11)]
    due: dict[int, int] = {}
    cycle = 0

    async def bench(ctx: Any) -> None:
        nonlocal cycle
        fill(ctx, source.weights, words)
        for _ in range(3):
            ctx.set(source.words.restart, 1)
            await ctx.tick()
            cycle += 1
            ctx.set(source.words.restart, 0)
            number = 0
            while number < len(words):
                ctx.set(source.pause, int(rng.random() < 0.3))
                take = bool(ctx.get(source.words.available)) and rng.random() < 0.7
                ctx.set(source.words.take, int(take))
                if take:
                    due[cycle + LATENCY] = words[number]
                    number += 1
                await ctx.tick()
                cycle += 1
                if cycle in due:
                    assert ctx.get(source.words.data) == due.pop(cycle)
            ctx.set(source.words.take, 0)
            for _ in range(LATENCY):
                await ctx.tick()
                cycle += 1
                if cycle in due:
                    assert ctx.get(source.words.data) == due.pop(cycle)
        assert not due

    simulate(source, bench)


def test_pause_holds_the_weights_back() -> None:
    source = BlockSource(LoadedShape(8, 4, parity=False))

    async def bench(ctx: Any) -> None:
        for pause in (0, 1, 0):
            ctx.set(source.pause, pause)
            assert ctx.get(source.words.available) == 1 - pause

    simulate(source, bench)
