"""Row blocks through an array of lanes, ternary or not, against the golden product."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmfree.chip.design import Design
from mmfree.golden.pow2 import ternary_product
from tests.support.hdl.bench import simulate, to_python

Block = tuple[np.ndarray, np.ndarray]
"""Weights [R, n], q [n]."""


def _code(weights: np.ndarray, bits: int) -> int:
    """Codes of a group's lanes, row after row: each weight's two's complement."""
    return sum((int(w) & (1 << bits) - 1) << bits * lane for lane, w in enumerate(weights.ravel()))


def play_blocks(array: Any, design: Design, blocks: list[Block], idle: float) -> None:
    """Send row blocks one after another, and compare every result.

    The weights of a group of rows come a cycle later than those of the group before, and so must
    its results. There must be no other results.
    """
    rng = np.random.default_rng(2)
    columns, groups, rows = design.columns, design.num_groups, design.group_rows
    tiles: list[tuple[np.ndarray, np.ndarray, bool, bool] | None] = []
    due: list[dict[int, list[int]]] = [{} for _ in range(groups)]
    for trits, q in blocks:
        for start in range(0, len(q), columns):
            while rng.random() < idle:
                tiles.append(None)
            part = slice(start, start + columns)
            tiles.append((trits[:, part], q[part], start == 0, part.stop == len(q)))
        for group, sums in enumerate(ternary_product(trits, q).reshape(groups, rows)):
            due[group][len(tiles) - 1 + array.latency + group] = sums.tolist()

    async def bench(ctx: Any) -> None:
        for cycle in range(len(tiles) + array.latency + groups + 2):
            now = tiles[cycle] if cycle < len(tiles) else None
            ctx.set(array.tiles.beat.valid, now is not None)
            if now is not None:
                _, q, first, last = now
                ctx.set(array.tiles.x, q.tolist())
            else:
                first, last = rng.integers(2, size=2)
                ctx.set(array.tiles.x, rng.integers(-128, 128, columns).tolist())
            ctx.set(array.tiles.beat.first, int(first))
            ctx.set(array.tiles.beat.last, int(last))
            for group in range(groups):
                then = tiles[cycle - group] if 0 <= cycle - group < len(tiles) else None
                trits = then[0] if then is not None else rng.integers(-1, 2, (design.rows, columns))
                ctx.set(
                    array.w[group],
                    _code(trits[group * rows : (group + 1) * rows], design.lane_bits),
                )
            await ctx.tick()
            valid, sums = ctx.get(array.sums.valid), to_python(ctx.get(array.sums.acc))
            for group in range(groups):
                expected = due[group].pop(cycle + 1, None)
                assert valid >> group & 1 == (expected is not None), f"cycle {cycle}, group {group}"
                if expected is not None:
                    assert sums[group * rows : (group + 1) * rows] == expected

    simulate(array, bench)
    assert not any(due)
