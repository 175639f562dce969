"""Activations: tiles are quantized on the first pass, and read back equal on the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.memory.vectors import VectorMemory
from hdl.pow2.activations import LATENCY, Activations
from mmfree.chip.header import KIND_CODES
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import IDLE, ints, small_design

COLUMNS = 4


class Bench:
    """Plays segments of three passes over a vector, and compares all that leaves the block."""

    def __init__(self, size: int, reads_u: int, idle: float) -> None:
        self.size, self.reads_u, self.idle = size, reads_u, idle
        self.tiles = -(-size // COLUMNS)
        self.block = Activations(small_design(2, COLUMNS, size))
        self.rng = np.random.default_rng(size)
        self.saturated = 0
        self.fresh_words: list[int] = []
        self.due: dict[int, int] = {}
        self.cycle = 0

    def vector(self, largest: int) -> tuple[np.ndarray, np.ndarray, int, int]:
        """A vector's words with garbage after its end; its int8, its shift, how many saturate."""
        count = self.tiles * COLUMNS
        words = self.rng.integers(-largest, largest, count)
        words[0] = largest
        words[self.size :] = self.rng.integers(-32768, 32768, count - self.size)
        rounded, shift = golden.quantize(ints(words[: self.size]))
        q = np.zeros(count, dtype=int)
        q[: self.size] = np.clip(rounded, -128, 127)
        return words, q, int(shift[0]), int((rounded > 127).sum())

    async def segment(self, ctx: Any, words: np.ndarray, q: np.ndarray, shift: int) -> None:
        block, rng = self.block, self.rng
        kind = KIND_CODES["output" if self.reads_u else "gates"]
        tail = self.size - (self.tiles - 1) * COLUMNS
        ctx.set(block.segment.header, {"kind": kind, "tail": tail})
        waiting = [(visit == 0, tile) for visit in range(3) for tile in range(self.tiles)]
        self.fresh_words = list(range(self.tiles))
        answers: list[int | None] = [None] * VectorMemory.LATENCY
        self.cycle = begun = 0
        while waiting or self.due:
            valid = bool(waiting) and rng.random() >= self.idle
            garbage = bool(rng.integers(2)), int(rng.integers(self.tiles))
            fresh, tile = waiting.pop(0) if valid else garbage
            self.send_beat(ctx, valid, fresh, tile)
            # The shift is known two cycles after the first beat.
            begun += bool(begun or valid)
            ctx.set(block.shift, shift if begun > 2 else int(rng.integers(16)))
            # Only on the first pass does the vector memory's word count.
            answers.append(tile if valid and fresh else None)
            self.answer(ctx, words, answers.pop(0))
            if valid:
                self.due[self.cycle + LATENCY] = tile
            await ctx.tick()
            self.cycle += 1
            self.compare(ctx, q)
        assert not self.fresh_words

    def send_beat(self, ctx: Any, valid: bool, fresh: bool, tile: int) -> None:
        flags = {"valid": valid, "first": tile == 0, "last": tile == self.tiles - 1, "fresh": fresh}
        for name, value in flags.items():
            ctx.set(self.block.beat[name], int(value))
        ctx.set(self.block.tile, tile)

    def answer(self, ctx: Any, words: np.ndarray, tile: int | None) -> None:
        """The word of ``tile`` from the memory that is read, and garbage from the other."""
        other = self.rng.integers(-32768, 32768, COLUMNS).tolist()
        word = other if tile is None else part(words, tile)
        ctx.set(self.block.u.data, word if self.reads_u else other)
        ctx.set(self.block.x.data, other if self.reads_u else word)

    def compare(self, ctx: Any, q: np.ndarray) -> None:
        """The words for the norm in order, and each tile exactly LATENCY cycles after its beat."""
        block, last = self.block, self.tiles - 1
        self.saturated += ctx.get(block.saturated).bit_count()
        fresh, beat = ctx.get(block.fresh.beat), ctx.get(block.tiles.beat)
        if fresh.valid:
            tile = self.fresh_words.pop(0)
            assert to_python(ctx.get(block.fresh.x)) == part(q, tile)
            assert (fresh.first, fresh.last) == (tile == 0, tile == last)
        assert beat.valid == (self.cycle in self.due)
        if beat.valid:
            tile = self.due.pop(self.cycle)
            assert to_python(ctx.get(block.tiles.x)) == part(q, tile)
            assert (beat.first, beat.last) == (tile == 0, tile == last)


def part(vector: np.ndarray, tile: int) -> list[int]:
    """The elements of a tile."""
    elements: list[int] = vector[tile * COLUMNS : (tile + 1) * COLUMNS].tolist()
    return elements


@pytest.mark.parametrize("size", [1, 4, 7, 8, 20])
@pytest.mark.parametrize("reads_u", [0, 1])
@pytest.mark.parametrize("idle", IDLE)
def test_every_pass_gives_the_golden_vector(size: int, reads_u: int, idle: float) -> None:
    """Two vectors of three passes each.

    After a vector's end activations are 0, whatever the memory holds there.
    """
    bench, expected = Bench(size, reads_u, idle), 0

    async def run(ctx: Any) -> None:
        nonlocal expected
        for largest in (32767, 100):
            words, q, shift, saturated = bench.vector(largest)
            expected += saturated
            await bench.segment(ctx, words, q, shift)

    simulate(bench.block, run)
    assert bench.saturated == expected > 0
