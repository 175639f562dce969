"""The scalar unit against section 4, 6 and 8 of docs/arithmetic_absmax.md in Python's integers."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hdl.absmax.norm.scalars import MOST_SHIFT, Scalars, norm_latency, start_cycles
from hdl.absmax.norm.squares import read_cycles
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.golden import scalars as golden
from mmfree.golden.cuts import Cut
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.cuts import HIGHEST, ZERO, Element, absmax_design, element

DESIGN = absmax_design(4, 8, 64)
Scalar = tuple[int, int]
"""Mantissa and exponent; the mantissa has 31 bits, or is 0."""

EPS: Scalar = (math.floor(1e-6 * 2.0**50), -50)


def cut(value: int, exponent: int) -> Scalar:
    surplus = value.bit_length() - 31
    return (value >> surplus if surplus > 0 else value << -surplus), exponent + surplus


def add(one: Scalar, other: Scalar) -> Scalar:
    if not one[0] or not other[0]:
        return one if one[0] else other
    exponent = max(one[1], other[1])
    return cut(sum(m >> exponent - e for m, e in (one, other)), exponent)


def multiply(one: Scalar, other: Scalar) -> Scalar:
    return cut(one[0] * other[0], one[1] + other[1])


def reciprocal_root(s: Scalar) -> Scalar:
    r = 2 if s[1] % 2 == 0 else 1
    quotient = 2**62 // (s[0] >> r)
    return math.isqrt(quotient << 14), -38 - (s[1] + r) // 2


@dataclass
class Case:
    """What a segment's scale is made of; ``sum`` and ``base``: as SumRead gives them."""

    kind: str
    sum: Scalar
    base: Scalar
    offset: Scalar
    square_exponent: int
    constants: list[int]
    shift_bases: list[int]
    largest: list[Element]

    def header(self) -> int:
        return pack_header(
            DESIGN,
            kind=KIND_CODES[self.kind],
            multiplier=self.constants,
            base=self.shift_bases,
            offset=self.offset[0],
            offset_exponent=self.offset[1],
            square_exponent=self.square_exponent,
        )

    def radicand(self) -> Scalar:
        """What the root is taken of."""
        base_exponent = -76 if self.kind in ("output", "down") else -72
        s = self.sum[0], self.sum[1] + self.square_exponent
        b = self.base[0], self.base[1] + base_exponent
        return add(add(s, multiply(EPS, b)), cut(*self.offset))

    def of_matrix(self, matrix: int) -> Element:
        return self.largest[matrix if self.kind == "gates" else 0]

    def factors(self) -> list[tuple[int, int]]:
        """(F, shift) of each matrix."""
        found = []
        root = cut(*reciprocal_root(self.radicand()))
        for matrix, (c, base) in enumerate(zip(self.constants, self.shift_bases, strict=True)):
            largest = self.of_matrix(matrix)
            scaled = multiply(
                multiply(cut(c, 0), root), cut(largest["mantissa"], largest["exponent"] - 28)
            )
            shift = base - (scaled[1] + 7)
            found.append((scaled[0] >> 7, min(max(shift, 0), MOST_SHIFT)))
        return found


def scalar(rng: random.Random, low: int, high: int) -> Scalar:
    mantissa = rng.choice([1 << 30, (1 << 31) - 1, rng.randrange(1 << 30, 1 << 31)])
    return mantissa, rng.randint(low, high)


def random_case(rng: random.Random, kind: str) -> Case:
    """Of ordinary sizes, of which one is far from the others at times."""
    size = rng.randint(0, 160)
    offset = (1 << 23, (1 << 24) - 1, rng.randrange(1 << 23, 1 << 24))
    return Case(
        kind=kind,
        sum=scalar(rng, size, min(210, size + 40)),
        base=scalar(rng, size, min(210, size + 60)),
        offset=(rng.choice(offset), rng.randint(-96, 0)),
        square_exponent=rng.randint(-150, -40),
        constants=[
            rng.choice([1 << 23, (1 << 24) - 1, rng.randrange(1 << 23, 1 << 24)]) for _ in range(3)
        ],
        shift_bases=[rng.randint(-200, 200) for _ in range(3)],
        largest=[{**element(rng, 28, 87), "negative": 0} for _ in range(3)],
    )


def cases(rng: random.Random) -> list[Case]:
    found = [random_case(rng, kind) for kind in ("gates", "output", "glu", "down", "head") * 8]
    for case in (random_case(rng, "gates") for _ in range(12)):
        # Shifts within their range, one by one.
        found.append(case)
        case.shift_bases = [0, 0, 0]
        raw = [base - shift for base, shift in zip([0] * 3, _shifts(case), strict=True)]
        case.shift_bases = [x + rng.choice([-1, 0, 1, 30, 61, 62, 63]) for x in raw]
    # Roots of 2^24, which has a bit more: of 2^30 with an even exponent.
    for exponent in (-40, -39):
        case = random_case(rng, "gates")
        case.sum, case.base, case.offset = (0, 50), (0, 50), (1 << 23, exponent)
        found.append(case)
    # Zeros: either sum, both, and what is largest.
    for name in ("sum", "base"):
        for exponent in (0, 200):
            case = random_case(rng, "output")
            setattr(case, name, (0, exponent))
            found.append(case)
    found.append(random_case(rng, "gates"))
    found[-1].largest[1] = ZERO
    # Summands at every distance around the bits of a mantissa.
    for distance in (-40, -32, -31, -30, -2, -1, 0, 1, 2, 29, 30, 31, 32, 33, 40):
        case = random_case(rng, "gates")
        case.base, case.offset = (0, 0), ((1 << 24) - 1, -60)
        case.sum, case.square_exponent = ((1 << 31) - 1, 100), -167 + distance
        found.append(case)
    # A carry of the sum, and none.
    for mantissa in (1 << 30, (1 << 31) - 1):
        case = random_case(rng, "gates")
        case.sum, case.base, case.square_exponent = (mantissa, 100), (0, 0), -167
        case.offset = mantissa >> 7, -60
        found.append(case)
    return found


def _shifts(case: Case) -> list[int]:
    """Shifts before they are cut to their range, for bases of 0."""
    root = cut(*reciprocal_root(case.radicand()))
    found = []
    for matrix, c in enumerate(case.constants):
        largest = case.of_matrix(matrix)
        m = cut(largest["mantissa"], largest["exponent"] - 28)
        found.append(-(multiply(multiply(cut(c, 0), root), m)[1] + 7))
    return found


async def begin(ctx: Any, block: Scalars, case: Case) -> None:
    ctx.set(block.segment.load, 1)
    await ctx.tick()
    ctx.set(block.segment.load, 0)
    ctx.set(block.segment.header.as_value(), case.header())
    ctx.set(block.largest, case.largest)


async def answer(ctx: Any, block: Scalars, case: Case, clears: list[int]) -> int:
    """Give the sums when they are promised; returns the cycles until done."""
    rng = random.Random(case.sum[0])
    cycles, due = 1, dict[int, Scalar]()
    while not ctx.get(block.scale.done):
        if ctx.get(block.sums.start):
            asked = case.base if ctx.get(block.sums.of_base) else case.sum
            due[cycles + read_cycles(DESIGN)] = asked
        clears.append(ctx.get(block.sums.clear))
        mantissa, exponent = due.get(cycles, (rng.getrandbits(31), rng.getrandbits(7)))
        ctx.set(block.sums.mantissa, mantissa)
        ctx.set(block.sums.exponent, exponent)
        await ctx.tick()
        cycles += 1
        assert cycles <= block.latency
    return cycles


def test_every_factor_and_shift() -> None:
    block = Scalars(DESIGN)
    assert block.latency == norm_latency(DESIGN)
    some = cases(random.Random(0))

    async def bench(ctx: Any) -> None:
        for case in some:
            clears: list[int] = []
            await begin(ctx, block, case)
            assert not ctx.get(block.scale.done)
            assert await answer(ctx, block, case, clears) == block.latency
            assert sum(clears) == 1
            found = to_python(ctx.get(block.scale.multipliers))
            shifts = to_python(ctx.get(block.scale.shifts))
            for matrix, (factor, shift) in enumerate(case.factors()):
                assert found[matrix] == factor, case
                assert shifts[matrix] == shift or not factor, case

    simulate(block, bench)
    shifts = {shift for case in some for _, shift in case.factors()}
    assert {0, 1, MOST_SHIFT - 1, MOST_SHIFT} <= shifts
    assert any(reciprocal_root(case.radicand())[0] == 1 << 24 for case in some)


def test_a_token_stops_what_a_failed_pass_has_begun() -> None:
    """At any time: nothing is done, and the next segment has its scale in time."""
    block = Scalars(DESIGN)
    rng = random.Random(3)
    embedding = pack_header(DESIGN, kind=KIND_CODES["embedding"])

    async def bench(ctx: Any) -> None:
        for cycles in (1, start_cycles(DESIGN) - 1, start_cycles(DESIGN), 60, 130, 250):
            failed, case = random_case(rng, "gates"), random_case(rng, "gates")
            await begin(ctx, block, failed)
            await ctx.tick().repeat(cycles)
            ctx.set(block.segment.load, 1)
            await ctx.tick()
            ctx.set(block.segment.load, 0)
            ctx.set(block.segment.header.as_value(), embedding)
            assert ctx.get(block.sums.clear)
            for _ in range(block.latency):
                await ctx.tick()
                assert not ctx.get(block.scale.done)
                assert not ctx.get(block.sums.start)
            await begin(ctx, block, case)
            assert await answer(ctx, block, case, []) == block.latency
            found = to_python(ctx.get(block.scale.multipliers))
            assert found == [factor for factor, _ in case.factors()]

    simulate(block, bench)


@pytest.mark.parametrize("seed", range(3))
def test_the_golden_model_computes_the_same(seed: int) -> None:
    for case in cases(random.Random(seed)):
        s, b = (
            golden.scalar(np.array(m), e + shift)
            for (m, e), shift in (
                (case.sum, case.square_exponent),
                (case.base, -76 if case.kind in ("output", "down") else -72),
            )
        )
        eps = golden.scalar_of_float(1e-6)
        assert (int(eps.mantissa), int(eps.exponent)) == EPS
        radicand = golden.add(
            golden.add(s, golden.multiply(eps, b)), golden.scalar_of_constant(*case.offset)
        )
        assert (int(radicand.mantissa), int(radicand.exponent)) == case.radicand()
        root = golden.reciprocal_root(radicand)
        assert tuple(map(int, root)) == reciprocal_root(case.radicand())
        for matrix, (factor, shift) in enumerate(case.factors()):
            largest = case.of_matrix(matrix)
            m = Cut(*(np.array(largest[name]) for name in ("mantissa", "exponent", "negative")))
            theirs, exponent = golden.factor(
                golden.scalar_of_constant(case.constants[matrix], 0), root, m
            )
            assert int(theirs) == factor
            raw = case.shift_bases[matrix] - int(exponent)
            assert min(max(raw, 0), MOST_SHIFT) == shift or not factor


def test_the_smallest_mantissa_is_among_them() -> None:
    assert any(
        case.of_matrix(0)["mantissa"] in (HIGHEST, 2 * HIGHEST - 1)
        for case in cases(random.Random(0))
    )
