"""Sums of squares against exact sums in Python's integers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.back import rtlil

from hdl.absmax.norm.squares import LATENCY, SquareBins, Squares, read_cycles, sum_bits
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import forbidden_cells
from mmfree.chip.design import Design
from mmfree.golden.scalars import sum_of_squares
from tests.support.hdl.bench import simulate
from tests.support.hdl.cuts import HIGHEST, ZERO, Element, absmax_design, element, golden_cut

LARGEST = {"mantissa": 2 * HIGHEST - 1, "exponent": 87, "negative": 1}
SMALLEST = {"mantissa": HIGHEST, "exponent": 1, "negative": 0}


def exact_sum(elements: list[Element]) -> int:
    """2^36 times section 5's sum."""
    rounded = [((one["mantissa"] + 512) >> 10, one["exponent"]) for one in elements]
    return sum(r * r << 2 * exponent for r, exponent in rounded)


def cut_to_scalar(total: int) -> tuple[int, int]:
    """(31 bits, exponent) of an integer."""
    exponent = total.bit_length() - 31
    return (total >> exponent if exponent > 0 else total << -exponent), exponent


def vectors(rng: random.Random, count: int) -> list[list[Element]]:
    """Vectors of one exponent, of few and of all, of zeros, and of what is far apart."""
    found = [[ZERO], [SMALLEST], [LARGEST] * count, [SMALLEST] * count, [LARGEST, SMALLEST]]
    found.append([ZERO] * (count - 1) + [SMALLEST])
    for low, high in ((1, 87), (15, 16), (31, 33), (16, 16), (80, 87), (1, 15), (40, 75)):
        found.append([element(rng, low, high) for _ in range(rng.randint(1, count))])
    # The highest bin is reached by one element alone; the carry from below it is large.
    for exponent in (16, 32, 48, 64, 80):
        below = {**LARGEST, "exponent": exponent - 1}
        found.append([below] * (count - 1) + [{**SMALLEST, "exponent": exponent}])
    return found


async def feed(
    ctx: Any, block: Squares, two: tuple[list[Element], list[Element]], rng: random.Random
) -> None:
    """The elements of a vector and of a base, in groups, mixed."""
    width = len(block.group.element)
    groups = [
        (of_base, (elements[n : n + width] + [ZERO] * width)[:width])
        for of_base, elements in enumerate(two)
        for n in range(0, len(elements), width)
    ]
    rng.shuffle(groups)
    for of_base, group in groups:
        idle = rng.randrange(1, 3)
        ctx.set(block.group.element, [element(rng, 0, 87) for _ in range(width)])
        await ctx.tick().repeat(idle)
        ctx.set(block.group.valid, 1)
        ctx.set(block.group.of_base, of_base)
        ctx.set(block.group.element, group)
        await ctx.tick()
        ctx.set(block.group.valid, 0)


async def read(ctx: Any, block: Squares, of_base: int, design: Design) -> tuple[int, int]:
    """Mantissa and exponent in the cycle in which they are promised."""
    ctx.set(block.read.start, 1)
    ctx.set(block.read.of_base, of_base)
    await ctx.tick()
    ctx.set(block.read.start, 0)
    await ctx.tick().repeat(read_cycles(design) - 1)
    found = ctx.get(block.read.mantissa), ctx.get(block.read.exponent)
    if found[0]:
        await ctx.tick().repeat(3)
        assert found == (ctx.get(block.read.mantissa), ctx.get(block.read.exponent))
    return found


async def clear(ctx: Any, block: Squares) -> None:
    ctx.set(block.read.clear, 1)
    await ctx.tick()
    ctx.set(block.read.clear, 0)


@pytest.mark.parametrize(("width", "max_width"), [(1, 64), (1, 5632), (4, 300), (2, 63)])
def test_both_sums_are_exact(width: int, max_width: int) -> None:
    rng = random.Random(max_width)
    design = absmax_design(4, 4, max_width, width)
    block = Squares(design)

    async def bench(ctx: Any) -> None:
        some = vectors(rng, min(max_width, 40))
        for of_vector, of_base in zip(some, rng.sample(some, len(some)), strict=True):
            await feed(ctx, block, (of_vector, of_base), rng)
            await ctx.tick().repeat(LATENCY - 1)
            for number, elements in ((1, of_base), (0, of_vector)):
                mantissa, exponent = await read(ctx, block, number, design)
                total = exact_sum(elements)
                assert mantissa == (cut_to_scalar(total)[0] if total else 0)
                assert not total or exponent == cut_to_scalar(total)[1]
                if total:
                    theirs = sum_of_squares(golden_cut(elements), 0)
                    assert (mantissa, exponent - 36) == (theirs.mantissa, theirs.exponent)
            await clear(ctx, block)

    simulate(block, bench)


def test_the_longest_vector_of_the_largest_elements() -> None:
    """5,632 elements: the sum takes all its bits."""
    design = absmax_design(4, 4, 5632, 4)
    block = Squares(design)

    async def bench(ctx: Any) -> None:
        largest = {**LARGEST, "exponent": 79}
        ctx.set(block.group.valid, 1)
        ctx.set(block.group.element, [largest] * 4)
        await ctx.tick().repeat(5632 // 4)
        ctx.set(block.group.valid, 0)
        await ctx.tick().repeat(LATENCY - 1)
        found = await read(ctx, block, 0, design)
        assert found == cut_to_scalar(exact_sum([largest] * 5632))
        assert (5632 << 66).bit_length() <= sum_bits(design)
        assert (await read(ctx, block, 1, design))[0] == 0

    simulate(block, bench)


def test_clearing_stops_a_read() -> None:
    """And what comes afterwards is summed from 0."""
    design = absmax_design(4, 4, 64)
    block = Squares(design)
    rng = random.Random(1)

    async def bench(ctx: Any) -> None:
        for cycles in (1, 2, 5, 17, 30):
            await feed(ctx, block, ([LARGEST] * 5, [LARGEST] * 3), rng)
            await ctx.tick().repeat(LATENCY - 1)
            ctx.set(block.read.start, 1)
            await ctx.tick()
            ctx.set(block.read.start, 0)
            await ctx.tick().repeat(cycles)
            await clear(ctx, block)
            await feed(ctx, block, ([SMALLEST], [SMALLEST] * 2), rng)
            await ctx.tick().repeat(LATENCY - 1)
            for of_base in (0, 1):
                expected = cut_to_scalar(exact_sum([SMALLEST] * (1 + of_base)))
                assert await read(ctx, block, of_base, design) == expected
            await clear(ctx, block)

    simulate(block, bench)


@pytest.mark.parametrize("technology", [Technology.GENERIC, Technology.ECP5])
def test_squares_are_units_of_additions(technology: Technology) -> None:
    assert not forbidden_cells(
        rtlil.convert(SquareBins(78), name="bins", emit_src=False, platform=technology)
    )
