"""The state's two banks: a token reads one and writes the other, a host has the current one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.memory.state_banks import StateBanks
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import IDLE, small_design

WIDTH, WORDS, TOKENS = 2, 5, 6


@pytest.mark.parametrize("bits", [16, 18, 28])
@pytest.mark.parametrize("idle", IDLE)
def test_a_token_reads_one_bank_and_writes_the_other(bits: int, idle: float) -> None:
    """Between tokens, which swap the banks or not, a host reads the current one, or changes it."""
    design = small_design(4, 4, 4, post_width=WIDTH, state_words=WORDS, value_bits=bits)
    block, rng = StateBanks(design), random.Random(bits)
    banks: list[list[list[int]]] = []

    def word() -> list[int]:
        corners = (-(1 << bits - 1), (1 << bits - 1) - 1, -1, 0)
        return [rng.choice([*corners, rng.randrange(corners[0], corners[1])]) for _ in range(WIDTH)]

    async def read(ctx: Any, address: Any, values: Any, expected: list[list[int]]) -> None:
        due: dict[int, list[int]] = {}
        for cycle in range(3 * WORDS):
            number = rng.randrange(WORDS)
            ctx.set(address, number)
            due[cycle + block.LATENCY - 1] = expected[number]
            await ctx.tick()
            if cycle in due:
                assert to_python(ctx.get(values)) == due[cycle]

    async def write_by_host(ctx: Any) -> list[list[int]]:
        words = [word() for _ in range(WORDS)]
        for number, values in enumerate(words):
            ctx.set(block.host.address, number)
            ctx.set(block.host.write, values)
            ctx.set(block.host.enable, 1)
            await ctx.tick()
            ctx.set(block.host.enable, 0)
        return words

    async def write_by_token(ctx: Any) -> list[list[int]]:
        words = [word() for _ in range(WORDS)]
        for number, values in enumerate(words):
            while rng.random() < idle:
                ctx.set(block.write.data, word())
                await ctx.tick()
            ctx.set(block.write.group, number)
            ctx.set(block.write.data, values)
            ctx.set(block.write.enable, 1)
            await ctx.tick()
            ctx.set(block.write.enable, 0)
        return words

    async def bench(ctx: Any) -> None:
        banks.append(await write_by_host(ctx))
        for token in range(TOKENS):
            ctx.set(block.playing, 1)
            ctx.set(block.host.enable, 1)  # refused while a token is played
            ctx.set(block.host.write, word())
            await read(ctx, block.read.address, block.read.data, banks[0])
            written = await write_by_token(ctx)
            await read(ctx, block.read.address, block.read.data, banks[0])
            kept = token % 3 != 1
            ctx.set(block.swap, kept)
            await ctx.tick()
            for port in (block.swap, block.playing, block.host.enable):
                ctx.set(port, 0)
            if kept:
                banks[0] = written
            await read(ctx, block.host.address, block.host.data, banks[0])
            if token % 2:
                banks[0] = await write_by_host(ctx)
                await read(ctx, block.host.address, block.host.data, banks[0])

    simulate(block, bench)
