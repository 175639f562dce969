"""The check of the weights against zlib's CRC-32: clean segments pass, every single flipped bit is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hdl.weight_check import LATENCY, WeightCheck
from mmfree.design import Design
from mmfree.layout import check_word
from tests.hdl.bench import simulate
from tests.hdl.test_ternary_array import design

DESIGNS = [design(1, 4, 4), design(4, 16, 16), replace(design(4, 16, 16), weight_code="1.6"), design(64, 64, 64)]


async def check(ctx: Any, block: WeightCheck, words: list[int], idle: float, rng: np.random.Generator) -> bool:
    """Send a segment, its check word last; returns the fault flag."""
    for index, word in enumerate(words):
        while rng.random() < idle:
            ctx.set(block.word, int(rng.integers(1 << 32)))
            await ctx.tick()
        is_check = index == len(words) - 1
        ctx.set(block.word, word)
        ctx.set(block.valid, not is_check)
        ctx.set(block.last, index == len(words) - 2)
        ctx.set(block.check, is_check)
        await ctx.tick()
        for flag in (block.valid, block.last, block.check):
            ctx.set(flag, 0)
    ctx.set(block.word, 0x5A5A5A5A)
    for _ in range(LATENCY - 1):
        assert not ctx.get(block.done)
        await ctx.tick()
    assert ctx.get(block.done)
    return bool(ctx.get(block.fault))


def segment(design: Design, count: int, rng: np.random.Generator) -> list[int]:
    size = -(-design.word_bits // 8)
    words = rng.integers(0, 256, (count, size)).astype(np.uint8)
    words[:, -1] &= 0xFF >> (-design.word_bits % 8)
    return [*(int.from_bytes(word.tobytes(), "little") for word in words), check_word(words, design)]


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: f"{d.word_bits} bits")
def test_clean_segments_pass_and_flipped_bits_are_found(design: Design) -> None:
    """Segments shorter and longer than a page, one after another; faults in weights and in the check word."""
    rng = np.random.default_rng(1)
    block = WeightCheck(design)
    pages = [1, design.page_words - 1, design.page_words, design.page_words + 1, 2 * design.page_words + 3]

    async def bench(ctx: Any) -> None:
        for count in [max(1, n) for n in pages]:
            words = segment(design, count, rng)
            assert not await check(ctx, block, words, 0.2, rng)
            for _ in range(4):
                faulty = list(words)
                faulty[int(rng.integers(len(words)))] ^= 1 << int(rng.integers(design.word_bits))
                assert await check(ctx, block, faulty, 0.2, rng)
            swapped = [words[-1], *words[1:-1], words[0]]
            assert await check(ctx, block, swapped, 0.0, rng)
            assert not await check(ctx, block, words, 0.0, rng)

    simulate(block, bench)


def test_a_restart_forgets_what_was_under_way() -> None:
    rng = np.random.default_rng(2)
    block = WeightCheck(DESIGNS[1])
    words = segment(DESIGNS[1], 5, rng)

    async def bench(ctx: Any) -> None:
        ctx.set(block.word, 77)
        ctx.set(block.valid, 1)
        await ctx.tick()
        ctx.set(block.valid, 0)
        await ctx.tick()
        ctx.set(block.restart, 1)
        await ctx.tick()
        ctx.set(block.restart, 0)
        assert not await check(ctx, block, words, 0.0, rng)

    simulate(block, bench)
