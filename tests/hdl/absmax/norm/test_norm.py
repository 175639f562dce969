"""Gain unit, largest elements, squares and scalars together: from elements to a segment's scale.

The reading segment begins as early as the sequencer lets it, a cycle after ``vector_done``.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.norm.elements import Elements
from hdl.absmax.norm.gains import GainUnit
from hdl.absmax.norm.largest import Largest
from hdl.absmax.norm.scalars import Scalars, norm_latency
from hdl.absmax.norm.squares import Squares
from hdl.interface import CurrentSegment, NormScale
from hdl.memory.parameters import LATENCY as GAIN_LATENCY
from hdl.memory.parameters import ParameterRead
from hdl.payloads import START_CYCLES
from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, pack_header
from mmfree.golden import cuts, scalars
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.cuts import Element, absmax_design, element, from_golden, golden_cut

LOG_TURNS = {"gates": 2, "output": 1, "glu": 1, "head": 1, "down": 0}
"""Of the vector that a kind reads."""


class Norm(wiring.Component):
    """The four blocks, as an accelerator connects them."""

    def __init__(self, design: Design) -> None:
        self.gain_unit, self.largest = GainUnit(design), Largest(design)
        self.squares, self.scalars = Squares(design), Scalars(design)
        super().__init__(
            {
                "elements": In(Elements(design)),
                "gains": Out(ParameterRead(design)),
                "segment": In(CurrentSegment(design)),
                "scale": Out(NormScale(design)),
                "vector_done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gain_unit, largest = self.gain_unit, self.largest
        m.submodules.gain_unit, m.submodules.largest = gain_unit, largest
        m.submodules.squares, m.submodules.scalars = self.squares, self.scalars
        wiring.connect(m, wiring.flipped(self.elements), gain_unit.elements)
        wiring.connect(m, wiring.flipped(self.gains), gain_unit.gains)
        wiring.connect(m, gain_unit.write, largest.write)
        wiring.connect(m, gain_unit.squares, self.squares.group)
        wiring.connect(m, self.scalars.sums, self.squares.read)
        wiring.connect(m, wiring.flipped(self.segment), self.scalars.segment)
        wiring.connect(m, self.scalars.scale, wiring.flipped(self.scale))
        m.d.comb += [
            gain_unit.turns.eq(self.segment.header.turns),
            largest.slot.eq(gain_unit.slot),
            largest.load.eq(self.segment.load),
            self.scalars.largest.eq(largest.largest),
            self.vector_done.eq(gain_unit.vector_done),
        ]
        return m


class Vector:
    """Elements, bases and gains of a vector that segments of a ``kind`` read."""

    def __init__(self, rng: random.Random, kind: str, length: int, size: int) -> None:
        self.kind, self.turns = kind, 1 << LOG_TURNS[kind]
        low = max(0, size - 8)
        self.values = [element(rng, low, size) for _ in range(length)]
        self.bases = self.values
        if kind == "output":
            self.bases = [element(rng, 0, 31) for _ in range(length)]
        limit = 1 << 23
        self.gains = [
            [rng.choice([0, -limit, rng.randrange(-limit, limit)]) for _ in range(length)]
            for _ in range(self.turns)
        ]
        self.constants = [rng.randrange(1 << 23, 1 << 24) for _ in range(3)]
        self.offset = rng.randrange(1 << 23, 1 << 24), rng.randint(-60, 0)
        self.square_exponent = rng.randint(-150, -40)
        self.base = 0

    def gained(self, turn: int) -> cuts.Cut:
        return cuts.apply_gain(golden_cut(self.values), np.array(self.gains[turn], dtype=np.int64))

    def largest(self, matrix: int) -> cuts.Cut:
        return cuts.largest(self.gained(matrix if self.kind == "gates" else 0))

    def radicand(self) -> scalars.Scalar:
        """Section 6."""
        offset = scalars.scalar_of_constant(*self.offset)
        # Exponents of sums in the header are those of integers times 2^-36.
        own = golden_cut(self.values) if self.turns == 1 else self.gained(self.turns - 1)
        s = scalars.sum_of_squares(own, 0)
        s = scalars.scalar(s.mantissa, s.exponent + 36 + self.square_exponent)
        if self.turns > 1:
            b = scalars.sum_of_squares(golden_cut(self.bases), 20 if self.kind == "output" else 18)
            s = scalars.add(s, scalars.multiply(scalars.scalar_of_float(1e-6), b))
        return scalars.add(s, offset)

    def factors(self) -> list[tuple[int, int]]:
        root, found = scalars.reciprocal_root(self.radicand()), []
        for matrix, c in enumerate(self.constants):
            factor, exponent = scalars.factor(
                scalars.scalar_of_constant(c, 0), root, self.largest(matrix)
            )
            found.append((int(factor[0]), min(max(self.base - int(exponent[0]), 0), 62)))
        return found

    def header(self, design: Design, following_turns: int) -> int:
        return pack_header(
            design,
            kind=KIND_CODES[self.kind],
            turns=following_turns,
            multiplier=self.constants,
            base=[self.base] * 3,
            offset=self.offset[0],
            offset_exponent=self.offset[1],
            square_exponent=self.square_exponent,
        )


async def write(ctx: Any, block: Norm, vector: Vector, rng: random.Random) -> None:
    """The vector, with gains when they are asked for, until it is done."""
    width = len(block.elements.value)
    asked: dict[int, int] = {}
    groups = -(-len(vector.values) // width)
    padding: list[Element] = [element(rng, 87, 87) for _ in range(width)]
    turn, now = 0, 0
    while True:
        number = now // vector.turns
        ctx.set(block.elements.valid, now % vector.turns == 0 and number < groups)
        if number < groups:
            left = len(vector.values) - number * width
            ctx.set(block.elements.end, number == groups - 1)
            ctx.set(block.elements.group, number)
            ctx.set(block.elements.keep, (1 << min(left, width)) - 1)
            for name, values in (("value", vector.values), ("base", vector.bases)):
                group = (values[number * width :] + padding)[:width]
                ctx.set(getattr(block.elements, name), group)
        if ctx.get(block.gains.next):
            asked[now + GAIN_LATENCY] = turn
            turn += 1
        if now in asked:
            number, of_group = divmod(asked[now], vector.turns)
            gains = vector.gains[of_group][number * width :]
            ctx.set(block.gains.values, (gains + [5] * width)[:width])
        if ctx.get(block.vector_done):
            break
        await ctx.tick()
        now += 1
    await ctx.tick()


@pytest.mark.parametrize("width", [1, 2, 8])
def test_the_scale_of_one_vector_after_another(width: int) -> None:
    rng = random.Random(width)
    design = absmax_design(8, 8, 64, width)
    block = Norm(design)
    kinds = ["gates", "output", "glu", "down", "gates", "down", "head"]
    some = [Vector(rng, kind, rng.choice([1, 17, 64]), rng.choice([20, 40, 63])) for kind in kinds]
    for vector in some:
        exponents = [shift for _, shift in vector.factors()]
        vector.base = 30 + max(exponents)

    async def load(ctx: Any, header: int) -> None:
        ctx.set(block.segment.load, 1)
        await ctx.tick()
        ctx.set(block.segment.load, 0)
        ctx.set(block.segment.header.as_value(), header)

    async def bench(ctx: Any) -> None:
        first = LOG_TURNS[some[0].kind]
        await load(ctx, pack_header(design, kind=KIND_CODES["embedding"], turns=first))
        await ctx.tick().repeat(10)
        for n, vector in enumerate(some):
            await write(ctx, block, vector, rng)
            following = LOG_TURNS[some[n + 1].kind] if n + 1 < len(some) else 0
            await load(ctx, vector.header(design, following))
            await ctx.tick().repeat(START_CYCLES)
            count = 3 if vector.kind == "gates" else 1
            expected = [from_golden(vector.largest(matrix))[0] for matrix in range(count)]
            assert to_python(ctx.get(block.largest.largest))[:count] == expected
            await ctx.tick().repeat(norm_latency(design) - START_CYCLES - 2)
            assert not ctx.get(block.scale.done)
            await ctx.tick()
            assert ctx.get(block.scale.done)
            for matrix, (factor, shift) in enumerate(vector.factors()):
                assert ctx.get(block.scale.multipliers[matrix]) == factor, (n, matrix)
                assert ctx.get(block.scale.shifts[matrix]) == shift or not factor

    simulate(block, bench)
    assert any(0 < shift < 62 for vector in some for _, shift in vector.factors())
