"""Row blocks: results leave in order, P values at a time, with their role, place and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.array.row_blocks import LATENCY, RowBlocks
from hdl.payloads import RESULT_BLOCKS, ROLE
from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES
from mmfree.contract.pow2 import SEGMENT_ROLES
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import small_design

ROLES = {
    "gates": ("table", "forget", "operand"),
    "output": ("residual",),
    "glu": ("table", "operand"),
    "down": ("residual",),
    "head": ("logit",),
}
WIDE = {"forget", "residual", "logit"}
MULTIPLIERS, BASES = (200, 131, 510), (-5, 13, 2)
FACTORS, SHIFTS = (0xC0FFEE, 0, 0xFFFFFF), (62, 0, 33)
"""Of absmax: factors of 24 bits, and shifts."""

PACED = {"operand", "residual"}
"""Roles that elements of the next vector are made of."""

SETTLE = 3
"""Cycles from ``load`` to the first results, at least."""


def test_every_matrix_has_a_role() -> None:
    assert {kind: len(roles) for kind, roles in ROLES.items()} == {
        kind: len(matrices) for kind, matrices in SEGMENT_ROLES.items()
    }
    assert set(ROLE.members) == {role for roles in ROLES.values() for role in roles}


class Bench:
    """Sends the row blocks of segments, at most RESULT_BLOCKS ahead, and compares what leaves."""

    def __init__(self, design: Design, idle: float) -> None:
        self.design, self.idle = design, idle
        self.block, self.rng = RowBlocks(design), np.random.default_rng(design.rows)
        self.absmax = design.arithmetic == "absmax"
        self.under_way: list[np.ndarray | None] = [None] * design.num_groups
        self.expected: list[tuple[Any, ...]] = []
        self.early_shift = self.waiting = self.cycle = 0
        self.left_at: list[int] = []

    def expect(self, kind: str, blocks: int, tail_rows: int, exponent: int) -> list[np.ndarray]:
        """A segment's accumulators as they arrive; adds what must leave to ``expected``."""
        design, arrivals = self.design, []
        width, slots = design.post_width, design.groups_per_block
        half = 1 << design.accumulator_bits - 1
        for block in range(blocks):
            for matrix, role in enumerate(ROLES[kind]):
                values = self.rng.integers(-half, half, design.rows)
                arrivals.append(values)
                for slot in range(slots):
                    rows = range(slot * width, (slot + 1) * width)
                    keep = sum(
                        (block < blocks - 1 or r < tail_rows) << p for p, r in enumerate(rows)
                    )
                    last = (block, matrix, slot) == (blocks - 1, len(ROLES[kind]) - 1, slots - 1)
                    place = (role, slot, block * slots + slot, keep, int(last))
                    scale = (MULTIPLIERS[matrix], int(role in WIDE), BASES[matrix] + exponent)
                    if self.absmax:
                        scale = (FACTORS[matrix], 0, SHIFTS[matrix])
                    self.expected.append((*place, values[list(rows)].tolist(), *scale))
        return arrivals

    async def tick(self, ctx: Any, arriving: np.ndarray | None = None) -> None:
        """One cycle; each group of rows gives its accumulators a cycle after the group before."""
        block, rows = self.block, self.design.group_rows
        self.under_way = [arriving, *self.under_way[:-1]]
        self.waiting += arriving is not None
        flags = 0
        half = 1 << self.design.accumulator_bits - 1
        values = self.rng.integers(-half, half, self.design.rows)
        for group, accumulators in enumerate(self.under_way):
            if accumulators is not None:
                flags |= 1 << group
                values[group * rows : (group + 1) * rows] = accumulators[
                    group * rows : (group + 1) * rows
                ]
        ctx.set(block.sums.valid, flags)
        ctx.set(block.sums.acc, values.tolist())
        await ctx.tick()
        self.cycle += 1
        self.waiting -= ctx.get(block.block_done)
        tag = ctx.get(block.rows.tag)
        if tag.valid:
            (role,) = (name for name in ROLE.members if tag.role[name])
            place = (role, tag.slot, tag.group, tag.keep, tag.end)
            wide = 0 if self.absmax else ctx.get(block.rows.wide)
            scale = (ctx.get(block.rows.multiplier), wide, self.early_shift)
            assert (*place, to_python(ctx.get(block.rows.acc)), *scale) == self.expected.pop(0)
            self.left_at.append(self.cycle)
        self.early_shift = ctx.get(block.rows.shift)

    async def play(
        self,
        ctx: Any,
        kind: str,
        blocks: int,
        tail_rows: int,
        scale_after: int,
        turns: int = 0,
    ) -> None:
        """Send a segment whose scale is known when ``scale_after`` row blocks have arrived."""
        block, exponent = self.block, int(self.rng.integers(6, 16))
        arrivals = self.expect(kind, blocks, tail_rows, exponent)
        ctx.set(block.segment.load, 1)
        ctx.set(block.scale.done, 0)
        await self.tick(ctx)
        ctx.set(block.segment.load, 0)
        own = {"turns": turns} if self.absmax else {"base": BASES}
        sizes = {"blocks": blocks, "tail_rows": tail_rows}
        ctx.set(block.segment.header, {"kind": KIND_CODES[kind], **sizes, **own})
        for _ in range(SETTLE):
            await self.tick(ctx)
        sent = 0
        while self.expected:
            done = sent >= min(scale_after, len(arrivals))
            ctx.set(block.scale.done, done)
            self.set_scale(ctx, exponent if done else None)
            arriving = None
            if (
                sent < len(arrivals)
                and self.waiting < RESULT_BLOCKS
                and self.rng.random() >= self.idle
            ):
                arriving, sent = arrivals[sent], sent + 1
            await self.tick(ctx, arriving)
            assert self.cycle < 10000, "values are missing"
        assert self.waiting == 0

    def set_scale(self, ctx: Any, exponent: int | None) -> None:
        """The scale; None: it is not known, and anything."""
        scale, rng = self.block.scale, self.rng
        multipliers = FACTORS if self.absmax else MULTIPLIERS
        known = exponent is not None
        ctx.set(scale.multipliers, multipliers if known else rng.integers(512, size=3).tolist())
        if self.absmax:
            ctx.set(scale.shifts, SHIFTS if known else rng.integers(63, size=3).tolist())
        else:
            ctx.set(scale.exponent, exponent if known else int(rng.integers(16)))


ARRAYS = [
    *((1, 1), (4, 1), (4, 4), (8, 2), (16, 4)),
    *((5, 1), (6, 2), (12, 4), (20, 4), (40, 4)),
]
"""Rows, and values that leave at a time."""


@pytest.mark.parametrize(
    ("rows", "width", "idle"),
    [*((*array, 0.0) for array in ARRAYS), *((*array, 0.5) for array in ARRAYS[::3])],
)
def test_values_leave_in_order_with_what_they_are(rows: int, width: int, idle: float) -> None:
    """The queue fills and wraps around; the last row block is cut at every row."""
    bench = Bench(small_design(rows, 4, 37, post_width=width, max_rows=9 * rows), idle)

    async def run(ctx: Any) -> None:
        for kind, blocks, scale_after in (
            ("gates", 9, RESULT_BLOCKS),
            ("output", 1, 1),
            ("glu", 7, 3),
            ("down", 2, 0),
            ("gates", 1, 2),
            ("head", 5, 5),
        ):
            for tail_rows in {1, rows, max(1, rows - 3)}:
                await bench.play(ctx, kind, blocks, tail_rows, scale_after)
        for _ in range(5):
            await bench.tick(ctx)

    simulate(bench.block, run)


def test_a_waiting_scale_delays_values_by_no_more_than_the_queue() -> None:
    """The first values leave LATENCY cycles after the arrival of the last group of rows.

    Values that waited leave without a gap.
    """
    design = small_design(8, 4, 37, post_width=2, max_rows=9 * 8)
    bench = Bench(design, 0.0)

    async def run(ctx: Any) -> None:
        await bench.play(ctx, "head", 9, 8, 0)
        start = bench.left_at[0] - LATENCY - (design.num_groups - 1)
        assert start == 1 + SETTLE
        assert bench.left_at == list(
            range(bench.left_at[0], bench.left_at[0] + 9 * design.groups_per_block)
        )
        del bench.left_at[:]
        await bench.play(ctx, "gates", 5, 8, 15)
        assert bench.left_at == list(
            range(bench.left_at[0], bench.left_at[0] + 15 * design.groups_per_block)
        )

    simulate(bench.block, run)


@pytest.mark.parametrize(("rows", "width", "idle"), [(8, 2, 0.0), (6, 2, 0.5), (4, 4, 0.0)])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_elements_leave_in_as_many_cycles_as_they_take(
    rows: int, width: int, idle: float, turns: int
) -> None:
    """Of g, up and residual; values of the other matrices leave P per cycle."""
    sizes = {"post_width": width, "max_rows": 9 * rows}
    design = small_design(rows, 4, 37, arithmetic="absmax", value_bits=32, **sizes)
    bench, slots = Bench(design, idle), design.groups_per_block

    async def run(ctx: Any) -> None:
        for kind, blocks in (("gates", 5), ("output", 3), ("glu", 4), ("head", 3), ("down", 1)):
            for tail_rows in (1, rows):
                del bench.left_at[:]
                own = 0 if kind == "head" else turns
                await bench.play(ctx, kind, blocks, tail_rows, len(ROLES[kind]) * blocks, own)
                left, due = bench.left_at, [bench.left_at[0]]
                for role in ROLES[kind] * blocks:
                    pace = 1 << own if role in PACED else 1
                    due += [due[-1] + n * pace for n in range(1, slots + 1)]
                # The last group's turns are waited for, too.
                assert left == due[:-1]

    simulate(bench.block, run)
