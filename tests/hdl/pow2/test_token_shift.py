"""The token shift against the golden model's, with the state's banks beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.memory.state_banks import StateBanks
from hdl.pow2.token_shift import LATENCY, TokenShift
from mmfree.golden.pow2 import shift_tokens
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import IDLE, ints, small_design
from tests.support.vectors import VECTORS

WIDTH, CHANNELS, LAYERS, TOKENS = 2, 8, 2, 5


@pytest.mark.parametrize("shift", [1, 3, 4, 8])
@pytest.mark.parametrize("idle", IDLE)
def test_channels_are_those_of_the_same_vector_a_token_before(idle: float, shift: int) -> None:
    """And 0 at a sequence's beginning; the head's vector, and its padding, are as they come."""
    design = small_design(
        2, 4, 8, post_width=WIDTH, embedding_width=8, header_words=2 + 4 * LAYERS, token_shift=shift
    )
    block, rng = TokenShift(design), np.random.default_rng(shift)
    base, groups = design.state_words, -(-shift // WIDTH)
    assert design.kept_words == base + 2 * LAYERS * groups
    # Banks as StateBanks has them: what is read is the last token's.
    current = rng.integers(-32768, 32768, (design.kept_words, WIDTH))
    written: list[tuple[int, int, list[int]]] = []

    async def token(ctx: Any, begin: bool, kept: np.ndarray) -> None:
        nonlocal current
        other, asked = current.copy(), [0] * StateBanks.LATENCY

        async def cycle() -> None:
            nonlocal asked
            if ctx.get(block.exchange.enable):
                assert base <= ctx.get(block.exchange.group) < design.kept_words
                other[ctx.get(block.exchange.group)] = to_python(ctx.get(block.exchange.data))
            asked = [ctx.get(block.exchange.group), *asked[:-1]]
            await ctx.tick()
            place = min(asked[StateBanks.LATENCY - 1], design.kept_words - 1)
            ctx.set(block.before, current[place].tolist())
            if ctx.get(block.write.enable):
                values = to_python(ctx.get(block.write.data))
                written.append((ctx.get(block.write.group), ctx.get(block.write.keep), values))

        ctx.set(block.begin, begin)
        ctx.set(block.restart, 1)
        await cycle()
        ctx.set(block.restart, 0)
        for vector in range(2 * LAYERS + 1):
            ctx.set(block.head, vector == 2 * LAYERS)
            x = rng.integers(-32768, 32768, CHANNELS)
            wanted = x if vector == 2 * LAYERS else shift_tokens(ints(x[None]), kept[vector])[0]
            written.clear()
            for group in range(CHANNELS // WIDTH):
                while rng.random() < idle:
                    ctx.set(block.x.enable, 0)
                    await cycle()
                channels = slice(group * WIDTH, (group + 1) * WIDTH)
                ctx.set(block.x.enable, 1)
                ctx.set(block.x.group, group)
                ctx.set(block.x.keep, group + 1)
                ctx.set(block.x.data, x[channels].tolist())
                await cycle()
            ctx.set(block.x.enable, 0)
            for _ in range(LATENCY):
                await cycle()
            due = [
                (group, (group + 1) % 4, wanted[group * WIDTH : (group + 1) * WIDTH].tolist())
                for group in range(CHANNELS // WIDTH)
            ]
            assert written == due, vector
        current = other

    async def bench(ctx: Any) -> None:
        kept = np.zeros((2 * LAYERS, 1, shift), dtype=np.int16)
        for number in range(TOKENS):
            if begin := number in (0, 3):
                kept[:] = 0
            await token(ctx, begin, kept)

    simulate(block, bench)


def test_the_worked_vector() -> None:
    given = VECTORS["token_shift"]
    before = np.array([given["before"]], dtype=np.int16)
    assert shift_tokens(ints([given["x"]]), before).tolist() == [given["v"]]
    assert before.tolist() == [given["x"][: before.shape[1]]]
