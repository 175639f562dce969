"""The source in block RAM: order, latency, restart and loading."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.memory.sources.block import BlockSource
from hdl.memory.sources.interface import LATENCY
from mmfree.chip.design import Design
from mmfree.chip.memory_map import loaded_shape, word_bits
from tests.support.hdl.bench import fill, simulate
from tests.support.hdl.values import shares, small_design

WORDS = 11


def random_words(design: Design) -> list[int]:
    rng = random.Random(3)
    return [rng.getrandbits(word_bits(design)) for _ in range(WORDS)]


class Reader:
    """Takes words, and expects each group's share when it is due."""

    def __init__(self, ctx: Any, source: BlockSource, design: Design) -> None:
        self.ctx, self.source, self.design = ctx, source, design
        self.due: list[dict[int, int]] = [{} for _ in range(design.num_groups)]
        self.cycle = 0

    async def tick(self, word: int | None = None) -> None:
        """One cycle, in which ``word`` is taken, if there is one."""
        self.ctx.set(self.source.words.take, word is not None)
        if word is not None:
            for group, share in enumerate(shares(word, self.design)):
                self.due[group][self.cycle + LATENCY + group] = share
        await self.ctx.tick()
        self.cycle += 1
        for group, due in enumerate(self.due):
            if self.cycle in due:
                assert self.ctx.get(self.source.words.data[group]) == due.pop(self.cycle)

    async def restart(self) -> None:
        self.ctx.set(self.source.words.restart, 1)
        await self.tick()
        self.ctx.set(self.source.words.restart, 0)

    async def drain(self) -> None:
        for _ in range(LATENCY + self.design.num_groups):
            await self.tick()
        assert not any(self.due)


@pytest.mark.parametrize("rows", [2, 4, 16, 6, 20])
def test_words_come_in_order_each_once_and_again_after_a_restart(rows: int) -> None:
    """The next pass begins while the last words of one are still on their way."""
    design = small_design(rows, 4, 4, weight_words=WORDS)
    source, words, rng = BlockSource(design), random_words(design), random.Random(1)

    async def bench(ctx: Any) -> None:
        for group, memory in enumerate(source.weights):
            fill(ctx, memory, [shares(word, design)[group] for word in words])
        reader = Reader(ctx, source, design)
        for count in (WORDS, 3, WORDS):
            await reader.restart()
            waiting = words[:count]
            while waiting:
                ctx.set(source.pause, int(rng.random() < 0.3))
                take = bool(ctx.get(source.words.available)) and rng.random() < 0.7
                await reader.tick(waiting.pop(0) if take else None)
        await reader.drain()

    simulate(source, bench)


@pytest.mark.parametrize(("rows", "columns", "code"), [(2, 8, "2"), (8, 32, "1.6"), (16, 8, "2")])
def test_loaded_words_are_read(rows: int, columns: int, code: str) -> None:
    """A part a cycle, in any order."""
    design = small_design(rows, columns, columns, weight_words=WORDS, weight_code=code)
    shape, source, words = (
        loaded_shape(design, "weights"),
        BlockSource(design),
        random_words(design),
    )
    writes = [(word, part) for word in range(WORDS) for part in range(shape.parts)]
    random.Random(5).shuffle(writes)

    async def bench(ctx: Any) -> None:
        load = source.load
        for word, part in writes:
            data = words[word] >> part * shape.part_bits & ((1 << shape.part_bits) - 1)
            for name, value in {"enable": 1, "word": word, "part": part, "data": data}.items():
                ctx.set(getattr(load, name), value)
            await ctx.tick()
        ctx.set(load.enable, 0)
        ctx.set(load.data, 1)
        reader = Reader(ctx, source, design)
        await reader.drain()
        for word in words:
            await reader.tick(word)
        await reader.drain()

    simulate(source, bench)


def test_pause_withholds_the_weights() -> None:
    source = BlockSource(small_design(2, 4, 4))

    async def bench(ctx: Any) -> None:
        for pause in (0, 1, 0):
            ctx.set(source.pause, pause)
            assert ctx.get(source.words.available) == 1 - pause

    simulate(source, bench)
