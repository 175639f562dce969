"""The wide state update against plain integers and the worked vectors, with idle cycles."""

from __future__ import annotations

import random

import pytest

from hdl.absmax.update_state import UpdateState
from tests.support.hdl import elementwise as twin
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE

CORNERS = [twin.INT32_MIN, twin.INT32_MIN + 1, -1, 0, 1, twin.INT32_MAX]


@pytest.mark.parametrize("idle", IDLE)
def test_update_state(idle: float) -> None:
    rng = random.Random(2)
    forgets = [0, 1, 1 << 19, twin.FORGET_ONE - 1, twin.FORGET_ONE]
    cases = [(1 << 19, 300, 0), (1 << 19, 0, 301), (1 << 19, 0, -301)]
    cases += [(f, c, h) for f in forgets for c in CORNERS for h in CORNERS]
    cases += [
        (
            rng.randint(0, twin.FORGET_ONE),
            rng.randint(twin.INT32_MIN, twin.INT32_MAX),
            rng.randint(twin.INT32_MIN, twin.INT32_MAX),
        )
        for _ in range(300)
    ]
    block = UpdateState(2)
    items: list[Item] = [
        {"load": [twin.FORGET_ONE - f, 1], "c": [c, h], "h": [h, c]} for f, c, h in cases
    ]
    results = play(block, with_idle(items, idle), block.latency, ["o"])
    for (f, c, h), result in zip(cases, results, strict=True):
        expected = [twin.next_state(f, c, h), twin.next_state(twin.FORGET_ONE - 1, h, c)]
        assert result["o"] == expected, (f, c, h)
        assert min(c, h) <= expected[0] <= max(c, h)
    assert results[0]["o"][0] == 150
