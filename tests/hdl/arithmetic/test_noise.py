"""Noise against its golden twin."""

from __future__ import annotations

from typing import Any

import pytest

from hdl.arithmetic.noise import Noise
from hdl.pow2.products import NOISE_READY
from hdl.rows.logits import chosen_cycle
from mmfree.contract.pow2 import TEMPERATURE_FB
from mmfree.golden.sampling import Sampler, seed_registers
from tests.support.hdl.bench import fill, simulate, to_python


async def set_seed(ctx: Any, block: Noise, seed: int) -> None:
    a, b = seed_registers(seed)
    ctx.set(block.seed, {"a": a, "b": b})
    await ctx.tick()
    ctx.set(block.seed_enable, 1)
    await ctx.tick()
    ctx.set(block.seed_enable, 0)


async def restart(ctx: Any, block: Noise, *, repeat: bool = False) -> None:
    ctx.set(block.restart, 1)
    ctx.set(block.repeat, repeat)
    await ctx.tick()
    ctx.set(block.restart, 0)
    for _ in range(2):  # in the chip a token's first row comes much later
        await ctx.tick()


async def play_token(ctx: Any, block: Noise, rows: int, width: int, temperature: int) -> list[int]:
    """Gumbel entries of a token's rows, a group every second cycle; none with a parity error."""
    found, waiting = [], {}
    ctx.set(block.temperature, temperature)
    await ctx.tick()
    groups = -(-rows // width) + 1  # the last holds padding alone
    for cycle in range(2 * groups + block.latency + width + 1):
        group = cycle // 2
        take = cycle % 2 == 0 and group < groups
        keep = max(0, min(width, rows - group * width)) if take else 0
        ctx.set(block.take, take)
        ctx.set(block.keep, (1 << keep) - 1)
        if take:
            waiting[cycle + block.latency] = keep
        await ctx.tick()
        if keep_now := waiting.pop(cycle + 1, 0):
            found += to_python(ctx.get(block.entry))[:keep_now]
        assert not ctx.get(block.parity_error)
    return found


def entries(sampler: Sampler, rows: int) -> list[int]:
    """The next rows' noise at a temperature of 1, which leaves the table's entries as they are."""
    drawn: list[int] = sampler.noise(rows, 1 << TEMPERATURE_FB).tolist()
    return drawn


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("rows", [1, 5, 8, 13])
def test_numbers_do_not_depend_on_the_lanes(width: int, rows: int) -> None:
    block = Noise(width)
    sampler = Sampler(9)

    async def bench(ctx: Any) -> None:
        await set_seed(ctx, block, 9)
        for temperature in (64, 0, 255, 1):
            await restart(ctx, block)
            found = await play_token(ctx, block, rows, width, temperature)
            if temperature:  # at 0 nothing is drawn, and entries are multiplied by 0
                assert found == entries(sampler, rows)

    simulate(block, bench)


def test_the_finer_quantiles_are_reached() -> None:
    """A thousand words hold some of the uppermost quantile."""
    words = Sampler(4).words(3000)
    assert (words >> 10 == 1023).any()
    block = Noise(4)

    async def bench(ctx: Any) -> None:
        await set_seed(ctx, block, 4)
        await restart(ctx, block)
        assert await play_token(ctx, block, 3000, 4, 64) == entries(Sampler(4), 3000)

    simulate(block, bench)


def test_a_repeated_token_draws_the_same_numbers() -> None:
    """Unless a seed was set since: then the seed counts."""
    block = Noise(2)

    async def bench(ctx: Any) -> None:
        await set_seed(ctx, block, 2)
        await restart(ctx, block)
        first = await play_token(ctx, block, 7, 2, 64)
        await restart(ctx, block)
        second = await play_token(ctx, block, 7, 2, 64)
        await restart(ctx, block, repeat=True)
        assert await play_token(ctx, block, 7, 2, 64) == second != first
        for repeat in (True, False):
            await set_seed(ctx, block, 2)
            await restart(ctx, block, repeat=repeat)
            assert await play_token(ctx, block, 7, 2, 64) == first
            await restart(ctx, block, repeat=True)
            assert await play_token(ctx, block, 7, 2, 64) == first
        await restart(ctx, block)
        assert await play_token(ctx, block, 7, 2, 64) == second

    simulate(block, bench)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 5), (7, 0)])
def test_a_seed_of_zero_counts_as_one(a: int, b: int) -> None:
    """A shift register of 0 would stay 0, and every draw would be the same."""

    async def draws(ctx: Any, block: Noise, seed: dict[str, int]) -> list[Any]:
        ctx.set(block.seed, seed)
        await ctx.tick()
        ctx.set(block.seed_enable, 1)
        await ctx.tick()
        ctx.set(block.seed_enable, 0)
        ctx.set(block.restart, 1)
        await ctx.tick()
        ctx.set(block.restart, 0)
        await ctx.tick().repeat(4)
        found = []
        ctx.set(block.take, 1)
        for _ in range(20):
            await ctx.tick()
            found.append(to_python(ctx.get(block.entry)))
        ctx.set(block.take, 0)
        await ctx.tick().repeat(block.latency + 2)
        return found

    async def bench(ctx: Any) -> None:
        fill(ctx, block.table, [int(word) for word in block.table.contents.init])
        ctx.set(block.temperature, 64)
        ctx.set(block.keep, 1)
        found = await draws(ctx, block, {"a": a, "b": b})
        assert found == await draws(ctx, block, {"a": a or 1, "b": b or 1})
        assert len({str(entry) for entry in found}) > 3

    block = Noise(1)
    simulate(block, bench)


def test_without_a_seed_both_registers_hold_one() -> None:
    """After reset; a first pass that fails is repeated from there, too."""
    found: list[list[int]] = []

    async def unseeded(ctx: Any) -> None:
        for repeat in (False, True):
            await restart(ctx, blocks[0], repeat=repeat)
            found.append(await play_token(ctx, blocks[0], 9, 2, 64))

    async def seeded(ctx: Any) -> None:
        ctx.set(blocks[1].seed, {"a": 1, "b": 1})
        await ctx.tick()
        ctx.set(blocks[1].seed_enable, 1)
        await ctx.tick()
        ctx.set(blocks[1].seed_enable, 0)
        await restart(ctx, blocks[1])
        found.append(await play_token(ctx, blocks[1], 9, 2, 64))

    blocks = [Noise(2), Noise(2)]
    for block, bench in zip(blocks, (unseeded, seeded), strict=True):
        simulate(block, bench)
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) > 2


@pytest.mark.parametrize("width", [4, 64])
def test_a_seed_right_after_a_token_counts(width: int) -> None:
    """Though the registers still move on by what the last group drew, which was not full."""
    block, rows = Noise(width), width - 1

    async def bench(ctx: Any) -> None:
        await set_seed(ctx, block, 2)
        await restart(ctx, block)
        ctx.set(block.temperature, 64)
        await ctx.tick()
        ctx.set(block.take, 1)
        ctx.set(block.keep, (1 << rows) - 1)
        await ctx.tick()
        ctx.set(block.take, 0)
        await ctx.tick().repeat(chosen_cycle(width, NOISE_READY))
        await set_seed(ctx, block, 3)
        await restart(ctx, block)
        assert await play_token(ctx, block, rows, width, 64) == entries(Sampler(3), rows)

    simulate(block, bench)
