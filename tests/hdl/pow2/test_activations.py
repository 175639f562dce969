"""Activations: tiles are quantized on their first passing, and read back equal afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.memory.vectors import VectorMemory
from hdl.pow2.activations import LATENCY, Activations
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import IDLE, ints, small_design

COLUMNS = 4


@pytest.mark.parametrize("size", [1, 4, 7, 8, 20])
@pytest.mark.parametrize("reads_u", [0, 1])
@pytest.mark.parametrize("idle", IDLE)
def test_every_passing_gives_the_golden_vector(size: int, reads_u: int, idle: float) -> None:
    """Two vectors of three passings.

    Beyond their end activations are 0, whatever the memory holds there.
    """
    rng = np.random.default_rng(size)
    tiles = -(-size // COLUMNS)
    block = Activations(small_design(2, COLUMNS, size))
    beats = [(passing == 0, tile) for passing in range(3) for tile in range(tiles)]
    saturated = expected_saturated = 0

    async def segment(ctx: Any, words: np.ndarray, q: np.ndarray, shift: int) -> None:
        nonlocal saturated
        ctx.set(block.tail, size - (tiles - 1) * COLUMNS)
        ctx.set(block.reads_u, reads_u)
        due: dict[int, tuple[int, int, int]] = {}
        cycle, begun = 0, 0
        answers: list[int | None] = [None] * VectorMemory.LATENCY
        waiting, fresh_words = list(beats), list(range(tiles))
        while waiting or due:
            valid = bool(waiting) and rng.random() >= idle
            fresh, tile = (
                waiting.pop(0) if valid else (bool(rng.integers(2)), int(rng.integers(tiles)))
            )
            flags = {"valid": valid, "first": tile == 0, "last": tile == tiles - 1, "fresh": fresh}
            for name, value in flags.items():
                ctx.set(block.beat[name], int(value))
            ctx.set(block.tile, tile)
            # The shift is known two cycles after the first beat.
            begun += bool(begun or valid)
            ctx.set(block.shift, shift if begun > 2 else int(rng.integers(16)))
            answer = answers.pop(0)
            answers.append(tile if valid and fresh else None)
            other = rng.integers(-32768, 32768, COLUMNS).tolist()
            # Only on the first passing the memory counts.
            read = (
                other
                if answer is None
                else words[answer * COLUMNS : (answer + 1) * COLUMNS].tolist()
            )
            ctx.set(block.u, read if reads_u else other)
            ctx.set(block.x, other if reads_u else read)
            if valid:
                due[cycle + LATENCY] = (tile, tile == 0, tile == tiles - 1)
            await ctx.tick()
            cycle += 1
            saturated += ctx.get(block.saturated).bit_count()
            if ctx.get(block.fresh).valid:
                tile = fresh_words.pop(0)
                assert (
                    to_python(ctx.get(block.q)) == q[tile * COLUMNS : (tile + 1) * COLUMNS].tolist()
                )
                assert (ctx.get(block.fresh).first, ctx.get(block.fresh).last) == (
                    tile == 0,
                    tile == tiles - 1,
                )
            beat = ctx.get(block.o_beat)
            assert beat.valid == (cycle in due)
            if cycle in due:
                tile, first, last = due.pop(cycle)
                assert (
                    to_python(ctx.get(block.activations))
                    == q[tile * COLUMNS : (tile + 1) * COLUMNS].tolist()
                )
                assert (beat.first, beat.last) == (first, last)
        assert not fresh_words

    async def bench(ctx: Any) -> None:
        nonlocal expected_saturated
        for largest in (32767, 100):
            words = rng.integers(-largest, largest, tiles * COLUMNS)
            words[0] = largest
            words[size:] = rng.integers(-32768, 32768, tiles * COLUMNS - size)
            rounded, shift = golden.quantize(ints(words[:size]))
            q = np.zeros(tiles * COLUMNS, dtype=int)
            q[:size] = np.clip(rounded, -128, 127)
            expected_saturated += int((rounded > 127).sum())
            await segment(ctx, words, q, int(shift[0]))

    simulate(block, bench)
    assert saturated == expected_saturated > 0
