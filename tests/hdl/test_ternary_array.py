"""The ternary array against the golden product, by an int64 loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil

from hdl.audit import forbidden_cells
from hdl.ternary_array import TernaryArray
from mmfree.design import Design
from mmfree.golden import ternary_product
from tests.hdl.bench import simulate, to_python
from tests.hdl.values import IDLE, ints
from tests.vectors import VECTORS


def design(rows: int, columns: int, max_width: int) -> Design:
    return Design(
        rows=rows,
        columns=columns,
        post_width=1,
        max_width=max_width,
        max_rows=rows,
        weight_words=8,
        header_words=2,
        embedding_rows=2,
        embedding_width=columns,
        bias_words=rows,
        state_words=rows,
    )


def code(trits: np.ndarray) -> int:
    """A word of weights: lane (r, c) has bits 2 (r C + c) and up."""
    return sum((int(t) & 3) << 2 * lane for lane, t in enumerate(trits.ravel()))


def play_blocks(block: TernaryArray, blocks: list[tuple[np.ndarray, np.ndarray]], columns: int, idle: float) -> None:
    """Row blocks (trits [R, n], q [n]) one after another; each result must come when it is due, and no other."""
    rng = np.random.default_rng(2)
    due: dict[int, list[int]] = {}
    cycle = 0

    async def tick(ctx: Any) -> None:
        nonlocal cycle
        await ctx.tick()
        cycle += 1
        assert ctx.get(block.o_valid) == (cycle in due), f"cycle {cycle}"
        if cycle in due:
            assert to_python(ctx.get(block.o)) == due.pop(cycle)

    async def bench(ctx: Any) -> None:
        for trits, q in blocks:
            tiles = len(q) // columns
            for tile in range(tiles):
                while rng.random() < idle:
                    ctx.set(block.valid, 0)
                    await tick(ctx)
                part = slice(tile * columns, (tile + 1) * columns)
                ctx.set(block.valid, 1)
                ctx.set(block.first, tile == 0)
                ctx.set(block.last, tile == tiles - 1)
                ctx.set(block.x, q[part].tolist())
                ctx.set(block.w, code(trits[:, part]))
                if tile == tiles - 1:
                    due[cycle + block.latency] = ternary_product(trits, q).tolist()
                await tick(ctx)
        ctx.set(block.valid, 0)
        for _ in range(block.latency + 2):
            await tick(ctx)
        assert not due

    simulate(block, bench)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (4, 4), (2, 16), (8, 8)])
@pytest.mark.parametrize("idle", IDLE)
def test_sums_are_exact(rows: int, columns: int, idle: float) -> None:
    rng = np.random.default_rng(rows + columns)
    blocks = []
    for tiles in (1, 1, 2, 3, 1, 5):
        trits = rng.integers(-1, 2, (rows, tiles * columns)).astype(np.int8)
        blocks.append((trits, ints(rng.integers(-128, 128, tiles * columns))))
    play_blocks(TernaryArray(design(rows, columns, 5 * columns)), blocks, columns, idle)


@pytest.mark.parametrize("trit", [-1, 0, 1])
@pytest.mark.parametrize("value", [-128, 127, -1, 0])
def test_all_weights_equal_at_the_largest_sum(trit: int, value: int) -> None:
    """The accumulator holds 128 * max_width and its negative."""
    columns, width = 4, 4 * 31
    trits = np.full((2, width), trit, dtype=np.int8)
    play_blocks(TernaryArray(design(2, columns, width)), [(trits, ints([value] * width))], columns, 0.0)


def test_vector() -> None:
    vector = VECTORS["product"]
    trits = np.array(vector["trits"], dtype=np.int8)
    assert ternary_product(trits, ints(vector["q"])).tolist() == vector["acc"]
    play_blocks(TernaryArray(design(2, 4, 4)), [(trits, ints(vector["q"]))], 4, 0.0)


def test_one_adder_for_each_lane_and_no_multiplier() -> None:
    text = rtlil.convert(TernaryArray(design(4, 8, 64)), name="array", emit_src=False)
    assert not forbidden_cells(text)
    assert text.count("cell $add ") == 4 * 8
    assert "cell $sub " not in text
