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
            scale = (ctx.get(block.rows.multiplier), ctx.get(block.rows.wide), self.early_shift)
            assert (*place, to_python(ctx.get(block.rows.acc)), *scale) == self.expected.pop(0)
            self.left_at.append(self.cycle)
        self.early_shift = ctx.get(block.rows.shift)

    async def play(
        self, ctx: Any, kind: str, blocks: int, tail_rows: int, scale_after: int
    ) -> None:
        """Send a segment whose scale is known when ``scale_after`` row blocks have arrived."""
        block, exponent = self.block, int(self.rng.integers(6, 16))
        arrivals = self.expect(kind, blocks, tail_rows, exponent)
        ctx.set(block.segment.load, 1)
        ctx.set(block.scale.done, 0)
        await self.tick(ctx)
        ctx.set(block.segment.load, 0)
        ctx.set(
            block.segment.header,
            {"kind": KIND_CODES[kind], "blocks": blocks, "tail_rows": tail_rows, "base": BASES},
        )
        for _ in range(SETTLE):
            await self.tick(ctx)
        sent = 0
        while self.expected:
            done = sent >= min(scale_after, len(arrivals))
            ctx.set(block.scale.done, done)
            ctx.set(
                block.scale.multipliers,
                MULTIPLIERS if done else self.rng.integers(512, size=3).tolist(),
            )
            ctx.set(block.scale.exponent, exponent if done else int(self.rng.integers(16)))
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
