"""RMSNorm against its golden twin and the worked vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil

from hdl.pow2.rms_norm import RMSNorm, num_squares
from hdl.toolchain.audit import forbidden_cells
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import ints, small_design
from tests.support.vectors import VECTORS

SIZES = [(2, 32), (2, 1), (4, 32), (8, 5), (16, 3), (16, 1), (32, 16)]
"""Columns, and words of the largest vector."""


def vectors(columns: int, max_words: int) -> list[np.ndarray]:
    """Vectors of int8 with sums of squares over the whole range, and at its edges.

    The edges are 0, 4096, powers of two and their neighbours, and the largest sum.
    """
    rng = np.random.default_rng(0)
    found = [ints([0, 0]), ints([64, 0]), ints([-128, 0]), ints(VECTORS["quantizer"][0]["q"])]
    found += [ints([-128] * n) for n in (4, 8, 16, 64, columns * max_words)]
    found += [ints([127, -128, 64, 65] * n) for n in (1, 3, 7)]
    for words in (1, 1, 2, 3, 5, *rng.integers(1, 6, 25)):
        values = rng.integers(-128, 128, columns * int(words))
        values[0] = 127
        found.append(ints(values))
    padded = [np.pad(vector, (0, -len(vector) % columns)) for vector in found]
    return [vector for vector in padded if len(vector) <= columns * max_words]


@pytest.mark.parametrize(
    ("columns", "max_words", "idle"),
    [*((*size, 0.0) for size in SIZES), *((*size, 0.5) for size in SIZES[::3])],
)
def test_scale_and_exponent(columns: int, max_words: int, idle: float) -> None:
    """Scale and exponent are right, and come in the right cycle.

    A word is taken up after those before it, and in the cycle after it came at the earliest.
    """
    block = RMSNorm(small_design(1, columns, columns * max_words))
    multipliers = [192, 256, 148]  # 192: halves occur
    rng = np.random.default_rng(1)

    async def play(ctx: Any, words: list[list[int]]) -> None:
        """Send a vector, until ``done`` should rise."""
        cycle, free, sent = 0, 0, 0
        while sent < len(words) or cycle < free - 1 + block.latency:
            valid = sent < len(words) and rng.random() >= idle
            ctx.set(block.tiles.beat.valid, valid)
            ctx.set(
                block.tiles.beat.last, sent == len(words) - 1 if valid else int(rng.integers(2))
            )
            ctx.set(
                block.tiles.x, words[sent] if valid else rng.integers(-128, 128, columns).tolist()
            )
            if valid:
                sent, free = sent + 1, max(free, cycle + 1) + block.parts
            assert not ctx.get(block.scale.done), f"{free - 1 + block.latency - cycle} cycles early"
            await ctx.tick()
            cycle += 1
        ctx.set(block.tiles.beat.valid, 0)

    async def bench(ctx: Any) -> None:
        ctx.set(block.segment.header.multiplier, multipliers)
        for vector in vectors(columns, max_words):
            ctx.set(block.segment.load, 1)
            await ctx.tick()
            ctx.set(block.segment.load, 0)
            await play(ctx, vector.reshape(-1, columns).tolist())
            s = ints([int((vector * vector).sum())])
            r, k = golden.rms_norm(s)
            for _ in range(3):
                assert ctx.get(block.scale.done)
                assert ctx.get(block.scale.exponent) == k[0], s
                expected = [int(golden.scale(r, m)[0]) for m in multipliers]
                assert to_python(ctx.get(block.scale.multipliers)) == expected, s
                await ctx.tick()

    simulate(block, bench)


@pytest.mark.parametrize("columns", [64, 128])
def test_the_widest_vector_of_the_largest_values(columns: int) -> None:
    """65,535 elements of -128: the sum takes all its bits."""
    words, multipliers = -(-65_535 // columns), [128, 200, 256]
    block = RMSNorm(small_design(1, columns, 65_535))

    async def bench(ctx: Any) -> None:
        ctx.set(block.segment.header.multiplier, multipliers)
        ctx.set(block.tiles.beat.valid, 1)
        ctx.set(block.tiles.x, [-128] * columns)
        await ctx.tick().repeat(words - 1)
        ctx.set(block.tiles.beat.last, 1)
        ctx.set(block.tiles.x, [-128] * (columns - 1) + [0])
        await ctx.tick()
        ctx.set(block.tiles.beat.valid, 0)
        await ctx.tick().repeat((block.parts - 1) * words + block.latency)
        assert ctx.get(block.scale.done)
        r, k = golden.rms_norm(ints([65_535 << 14]))
        assert ctx.get(block.scale.exponent) == k[0] == 14
        expected = [int(golden.scale(r, m)[0]) for m in multipliers]
        assert to_python(ctx.get(block.scale.multipliers)) == expected

    simulate(block, bench)


@pytest.mark.parametrize("columns", sorted({columns for columns, _ in SIZES}))
def test_squares_are_units_of_additions(columns: int) -> None:
    block = RMSNorm(small_design(1, columns, columns))
    assert len(block.squares) == num_squares(columns)
    assert len(block.squares) * block.parts == columns
    assert not forbidden_cells(rtlil.convert(block, name="norm", emit_src=False))


def test_the_worked_vector_is_among_them() -> None:
    """Section 5's q gives section 6's R and k, and M of its matrix."""
    q = ints(VECTORS["quantizer"][0]["q"])
    s, r, k = VECTORS["rms_norm"][0]
    assert int((q * q).sum()) == s
    assert VECTORS["scale"][0][:2] == [r, 148]
    assert k == 6
