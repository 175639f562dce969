"""The check of the weights against zlib's CRC-32: clean segments pass, flipped bits are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.memory.weight_check import StreamCheck
from mmfree.chip.design import Design
from mmfree.chip.image import Words
from mmfree.chip.layout import check_word
from mmfree.chip.memory_map import group_bits, page_words, word_bits
from tests.support.hdl.bench import simulate, with_idle
from tests.support.hdl.values import shares, small_design

DESIGNS = [
    small_design(1, 4, 4),
    small_design(4, 16, 16),
    small_design(4, 16, 16, weight_code="1.6"),
    small_design(8, 16, 16, weight_code="1.6"),
    small_design(16, 64, 64),
    small_design(64, 64, 64),
    small_design(5, 8, 8, weight_code="1.6"),
    small_design(6, 16, 16, weight_code="1.67"),
    small_design(40, 16, 16),
]


async def check(
    ctx: Any,
    block: StreamCheck,
    design: Design,
    words: list[int],
    idle: float,
    rng: np.random.Generator,
) -> bool:
    """Send a segment and its check word, the share of group g g cycles late; returns the fault."""
    sent = with_idle(
        [{"index": index} for index in range(len(words))], idle, seed=int(rng.integers(1000))
    )
    cycles = len(sent) + block.latency - 1
    for cycle in range(cycles):
        now = sent[cycle] if cycle < len(sent) else None
        left = len(words) - now["index"] if now is not None else 0
        for flag, value in (
            (block.taken.word, left > 1),
            (block.taken.last, left == 2),
            (block.taken.check, left == 1),
        ):
            ctx.set(flag, value)
        for group in range(design.num_groups):
            then = sent[cycle - group] if 0 <= cycle - group < len(sent) else None
            share = int(rng.integers(1 << 32))
            if then is not None:
                share = shares(words[then["index"]], design)[group]
            ctx.set(block.words[group], share)
        await ctx.tick()
        assert ctx.get(block.done) == (cycle == cycles - 1)
    return bool(ctx.get(block.fault))


def segment(design: Design, count: int, rng: np.random.Generator) -> list[int]:
    size = -(-word_bits(design) // 8)
    words = rng.integers(0, 256, (count, size)).astype(np.uint8)
    words[:, -1] &= 0xFF >> (-word_bits(design) % 8)
    values = [int.from_bytes(word.tobytes(), "little") for word in words]
    packed = Words.of(values, group_bits(design), design.num_groups)
    return [*values, check_word([packed.shares], page_words(design))]


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: f"{d.num_groups} of {group_bits(d)} bits")
def test_clean_segments_pass_and_flipped_bits_are_found(design: Design) -> None:
    """Segments shorter and longer than a page follow each other, with faults in any word."""
    rng = np.random.default_rng(1)
    block = StreamCheck.of_weights(design)
    page = page_words(design)
    counts = [1, max(1, page - 1), page, page + 1, 2 * page + 3]

    async def bench(ctx: Any) -> None:
        for count in counts:
            words = segment(design, count, rng)
            assert not await check(ctx, block, design, words, 0.2, rng)
            for _ in range(4):
                faulty = list(words)
                faulty[int(rng.integers(len(words)))] ^= 1 << int(rng.integers(word_bits(design)))
                assert await check(ctx, block, design, faulty, 0.2, rng)
            swapped = [words[-1], *words[1:-1], words[0]]
            assert await check(ctx, block, design, swapped, 0.0, rng)
            assert not await check(ctx, block, design, words, 0.0, rng)

    simulate(block, bench)


@pytest.mark.parametrize("design", [DESIGNS[4], DESIGNS[6]], ids=lambda d: f"{d.rows} rows")
def test_segments_of_many_pages_are_checked_page_by_page(design: Design) -> None:
    """Their order counts, and each of them; of any length, and each after another."""
    rng, block = np.random.default_rng(3), StreamCheck.of_weights(design)
    page = page_words(design)
    pages = 5 if page > 8 else 40

    async def bench(ctx: Any) -> None:
        for count in (pages * page, (pages - 1) * page + 1, 3 * page - 1):
            words = segment(design, count, rng)
            assert not await check(ctx, block, design, words, 0.0, rng)
            for number in {0, 1, (count - 1) // page}:
                faulty = list(words)
                faulty[number * page] ^= 1 << int(rng.integers(word_bits(design)))
                assert await check(ctx, block, design, faulty, 0.0, rng)
            exchanged = [*words[page : 2 * page], *words[:page], *words[2 * page :]]
            assert await check(ctx, block, design, exchanged, 0.0, rng)

    simulate(block, bench)


def test_a_restart_drops_the_segment_in_progress() -> None:
    rng = np.random.default_rng(2)
    design = DESIGNS[1]
    block = StreamCheck.of_weights(design)
    words = segment(design, 5, rng)

    async def bench(ctx: Any) -> None:
        ctx.set(block.words[0], 77)
        ctx.set(block.taken.word, 1)
        await ctx.tick()
        ctx.set(block.taken.word, 0)
        for _ in range(block.latency):
            await ctx.tick()
        ctx.set(block.restart, 1)
        await ctx.tick()
        ctx.set(block.restart, 0)
        assert not await check(ctx, block, design, words, 0.0, rng)

    simulate(block, bench)
