"""The gain unit: products with gains in turns, where they go, and what is squared."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from hdl.absmax.norm.gains import LATENCY, GainUnit
from hdl.absmax.norm.largest import largest_levels
from hdl.memory.parameters import LATENCY as GAIN_LATENCY
from hdl.payloads import EARLY
from mmfree.chip.design import Design
from mmfree.golden import cuts as golden
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.cuts import ZERO, Element, absmax_design, element, from_golden, golden_cut

Group = dict[str, Any]
"""Of elements: value, base, keep, the number of the group, and its gains by turn."""

GAINS = [-(1 << 23), (1 << 23) - 1, 0, 1, -1, 1 << 22, -(1 << 22) - 1]


def vector(rng: random.Random, width: int, turns: int, groups: int) -> list[Group]:
    """A vector with padding in its last groups, and with gains at their limits."""
    found: list[Group] = []
    for number in range(groups):
        left = groups * width - number * width - rng.randint(0, width)
        keep = [1 if number < groups - 2 else int(p < left - width) for p in range(width)]
        found.append(
            {
                "value": [element(rng, 0, 63) for _ in range(width)],
                "base": [element(rng, 0, 32) for _ in range(width)],
                "keep": keep,
                "number": number,
                "gains": [
                    [rng.choice([*GAINS, rng.randrange(-1 << 23, 1 << 23)]) for _ in range(width)]
                    for _ in range(turns)
                ],
            }
        )
    return found


def kept(elements: list[Element], keep: list[int]) -> list[Element]:
    return [one if wanted else ZERO for one, wanted in zip(elements, keep, strict=True)]


def gained(elements: list[Element], gains: list[int]) -> list[Element]:
    return from_golden(golden.apply_gain(golden_cut(elements), np.array(gains, dtype=np.int64)))


def expected_outputs(design: Design, group: Group) -> list[tuple[Any, Any]]:
    """(write, squares) of each turn: (place, slot, elements) and (of_base, elements), or None."""
    span = design.embedding_tiles * design.columns // design.post_width
    turns = len(group["gains"])
    value, base = (kept(group[name], group["keep"]) for name in ("value", "base"))
    outputs: list[tuple[Any, Any]] = []
    for turn, gains in enumerate(group["gains"]):
        for_norm = turns > 1 and turn == turns - 1
        v = gained(value, gains)
        write = (group["number"] + turn * span, turn, v)
        squares = None
        if for_norm:
            squares = (0, v)
        elif turn == 0:
            squares = (int(turns > 1), base)
        outputs.append((None if for_norm or not any(group["keep"]) else write, squares))
    return outputs


@pytest.mark.parametrize("idle", [0.0, 0.6])
@pytest.mark.parametrize("width", [1, 2, 8])
@pytest.mark.parametrize("log_turns", [0, 1, 2])
def test_products_of_every_turn(log_turns: int, width: int, idle: float) -> None:
    turns = 1 << log_turns
    rng = random.Random(8 * turns + width)
    design = absmax_design(8, 8, 30 * width, width)
    block = GainUnit(design)
    groups = vector(rng, width, turns, 30)
    arrivals, cycle = [], 2
    for _ in groups:
        while rng.random() < idle:
            cycle += 1
        arrivals.append(cycle)
        cycle += turns
    due = {
        arrival + LATENCY + turn: outputs
        for arrival, group in zip(arrivals, groups, strict=True)
        for turn, outputs in enumerate(expected_outputs(design, group))
    }
    written = [n for n, (write, _) in due.items() if write]
    done = max(n for n in due if n <= arrivals[-1] + LATENCY + max(0, turns - 2))
    done -= EARLY - largest_levels(design)
    gains = iter([gains for group in groups for gains in group["gains"]])
    asked: dict[int, list[int]] = {}

    async def bench(ctx: Any) -> None:
        ctx.set(block.turns, log_turns)
        for now in range(max(due) + 5):
            come = now in arrivals
            group = groups[arrivals.index(now)] if come else vector(rng, width, turns, 1)[0]
            elements = block.elements
            ctx.set(elements.valid, come)
            ctx.set(elements.end, group is groups[-1] or not come)
            ctx.set(elements.group, group["number"])
            ctx.set(elements.keep, sum(flag << p for p, flag in enumerate(group["keep"])))
            ctx.set(elements.value, group["value"])
            ctx.set(elements.base, group["base"])
            if ctx.get(block.gains.next):
                asked[now + GAIN_LATENCY] = next(gains)
            noise = [rng.randrange(-1 << 23, 1 << 23) for _ in range(width)]
            ctx.set(block.gains.values, asked.get(now, noise))
            write, squares = due.get(now, (None, None))
            assert ctx.get(block.write.enable) == (write is not None), now
            assert ctx.get(block.squares.valid) == (squares is not None), now
            assert ctx.get(block.vector_done) == (now == done), now
            if write:
                assert ctx.get(block.write.group) == write[0]
                assert ctx.get(block.slot) == write[1]
                assert to_python(ctx.get(block.write.data)) == write[2], now
            if squares:
                assert ctx.get(block.squares.of_base) == squares[0]
                assert to_python(ctx.get(block.squares.element)) == squares[1], now
            await ctx.tick()

    simulate(block, bench)
    assert next(gains, None) is None
    assert len(written) > 20
