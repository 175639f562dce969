"""The ternary array against the golden product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil

from hdl.audit import forbidden_cells
from hdl.ternary_array import CHAIN, TernaryArray
from mmfree.design import Design
from mmfree.golden import ternary_product
from tests.hdl.bench import simulate, to_python
from tests.hdl.values import IDLE, ints, small_design
from tests.vectors import VECTORS

Block = tuple[np.ndarray, np.ndarray]
"""Trits [R, n], q [n]."""


def code(trits: np.ndarray) -> int:
    """Codes of a group's lanes, row after row."""
    return sum((int(t) & 3) << 2 * lane for lane, t in enumerate(trits.ravel()))


def play_blocks(design: Design, blocks: list[Block], idle: float) -> None:
    """Row blocks one after another: the weights of a group of rows come a cycle later than those of the group before, and so must its results, and no others."""
    rng = np.random.default_rng(2)
    array = TernaryArray(design)
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
            ctx.set(array.valid, now is not None)
            if now is not None:
                _, q, first, last = now
                ctx.set(array.x, q.tolist())
            else:
                first, last = rng.integers(2, size=2)
                ctx.set(array.x, rng.integers(-128, 128, columns).tolist())
            ctx.set(array.first, int(first))
            ctx.set(array.last, int(last))
            for group in range(groups):
                then = tiles[cycle - group] if 0 <= cycle - group < len(tiles) else None
                trits = then[0] if then is not None else rng.integers(-1, 2, (design.rows, columns))
                ctx.set(array.w[group], code(trits[group * rows : (group + 1) * rows]))
            await ctx.tick()
            valid, sums = ctx.get(array.o_valid), to_python(ctx.get(array.o))
            for group in range(groups):
                expected = due[group].pop(cycle + 1, None)
                assert valid >> group & 1 == (expected is not None), f"cycle {cycle}, group {group}"
                if expected is not None:
                    assert sums[group * rows : (group + 1) * rows] == expected

    simulate(array, bench)
    assert not any(due)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (4, 4), (2, 16), (4, 8), (8, 8), (16, 2)])
@pytest.mark.parametrize("idle", IDLE)
def test_sums_are_exact(rows: int, columns: int, idle: float) -> None:
    rng = np.random.default_rng(rows + columns)
    blocks = []
    for tiles in (1, 1, 2, 3, 1, 5):
        trits = rng.integers(-1, 2, (rows, tiles * columns)).astype(np.int8)
        blocks.append((trits, ints(rng.integers(-128, 128, tiles * columns))))
    play_blocks(small_design(rows, columns, 5 * columns), blocks, idle)


@pytest.mark.parametrize("trit", [-1, 0, 1])
@pytest.mark.parametrize("value", [-128, 127, -1, 0])
def test_all_weights_equal_at_the_largest_sum(trit: int, value: int) -> None:
    """The accumulator holds 128 * max_width and its negative."""
    columns, width = 4, 4 * 31
    trits = np.full((2, width), trit, dtype=np.int8)
    play_blocks(small_design(2, columns, width), [(trits, ints([value] * width))], 0.0)


def test_vector() -> None:
    vector = VECTORS["product"]
    trits = np.array(vector["trits"], dtype=np.int8)
    assert ternary_product(trits, ints(vector["q"])).tolist() == vector["acc"]
    play_blocks(small_design(2, 4, 4), [(trits, ints(vector["q"]))], 0.0)


@pytest.mark.parametrize(("rows", "columns"), [(4, 2 * CHAIN), (8, CHAIN // 2)])
def test_one_adder_for_each_lane_and_no_multiplier(rows: int, columns: int) -> None:
    text = rtlil.convert(TernaryArray(small_design(rows, columns, 64)), name="array", emit_src=False)
    assert not forbidden_cells(text)
    assert text.count("cell $add ") == rows * columns
    assert "cell $sub " not in text
