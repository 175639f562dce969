"""Activations: tiles are quantized on their first passing, and read back equal afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.activations import LATENCY, Activations
from mmfree import golden
from tests.hdl.bench import simulate, to_python
from tests.hdl.test_ternary_array import design
from tests.hdl.values import IDLE, ints

COLUMNS = 4


@pytest.mark.parametrize("size", [8, 9, 12, 20])
@pytest.mark.parametrize("idle", IDLE)
def test_every_passing_gives_the_golden_vector(size: int, idle: float) -> None:
    """Three passings of a vector; beyond its end activations are 0, whatever the memory holds there."""
    rng = np.random.default_rng(size)
    tiles, tail = -(-size // COLUMNS), size - (-(-size // COLUMNS) - 1) * COLUMNS
    words = rng.integers(-32768, 32768, tiles * COLUMNS)
    words[0] = 32767  # saturates
    rounded, shift = golden.quantize(ints(words[:size]))
    q = np.zeros(tiles * COLUMNS, dtype=int)
    q[:size] = np.clip(rounded, -128, 127)
    block = Activations(design(2, COLUMNS, 32))
    beats = [(passing == 0, tile) for passing in range(3) for tile in range(tiles)]
    due: dict[int, tuple[int, int, int]] = {}
    saturated = 0

    async def bench(ctx: Any) -> None:
        nonlocal saturated
        ctx.set(block.tail, tail)
        ctx.set(block.tiles, tiles)
        ctx.set(block.shift, int(shift[0]))
        answer, cycle = 0, 0
        waiting = list(beats)
        while waiting or due:
            valid = bool(waiting) and rng.random() >= idle
            fresh, tile = waiting.pop(0) if valid else (False, int(rng.integers(tiles)))
            ctx.set(block.beat.valid, valid)
            ctx.set(block.beat.first, tile == 0)
            ctx.set(block.beat.last, tile == tiles - 1)
            ctx.set(block.beat.fresh, fresh)
            ctx.set(block.tile, tile)
            ctx.set(block.u, [int(v) for v in words[answer * COLUMNS : (answer + 1) * COLUMNS]])
            answer = tile  # the vector memory answers a cycle after its address
            if valid:
                due[cycle + LATENCY] = (tile, tile == 0, tile == tiles - 1)
            await ctx.tick()
            cycle += 1
            saturated += ctx.get(block.saturated).bit_count()
            beat = ctx.get(block.o_beat)
            assert int(beat["valid"]) == (cycle in due)
            if cycle in due:
                tile, first, last = due.pop(cycle)
                part = q[tile * COLUMNS : (tile + 1) * COLUMNS]
                assert to_python(ctx.get(block.x)) == part.tolist()
                assert (int(beat["first"]), int(beat["last"])) == (first, last)

    simulate(block, bench)
    assert saturated == int((rounded > 127).sum())
