"""Requantization against its golden twin and the worked vectors, with idle cycles between items."""

from __future__ import annotations

import numpy as np
import pytest

from hdl.requantize import Requantize
from mmfree import golden
from mmfree.formats import ROLES
from tests.hdl.bench import Item, play, with_idle
from tests.hdl.values import IDLE, ints
from tests.vectors import VECTORS


@pytest.mark.parametrize("idle", IDLE)
def test_requantize(idle: float) -> None:
    rng = np.random.default_rng(1)
    block = Requantize(17, 2)
    cases = [
        (v["acc"], v["M"], ROLES[v["role"]].shift_base(v["exponent"], "hard") + v["k"], v["role"] == "o")
        for v in VECTORS["requantize"]
    ]
    for _ in range(500):
        acc = int(rng.choice([-65535, 65535, 0, 1, -1, int(rng.integers(-65535, 65536))]))
        scale = int(rng.choice([128, 510, int(rng.integers(128, 511))]))
        cases.append((acc, scale, int(rng.integers(1, 29)), bool(rng.integers(2))))
    items: list[Item] = [
        {"acc": [acc, -acc], "scale": scale, "shift": shift, "wide": wide} for acc, scale, shift, wide in cases
    ]
    results = play(block, with_idle(items, idle), block.latency, ["z", "saturated"])
    for (acc, scale, shift, wide), result in zip(cases, results, strict=True):
        exact = golden.requantize(ints([acc, -acc]), ints(scale), shift)
        high = 32767 if wide else 127
        clamped = np.clip(exact, -high - 1, high)
        assert result["z"] == clamped.tolist()
        assert result["saturated"] == sum(1 << i for i in range(2) if clamped[i] != exact[i])
    assert [r["z"][0] for r in results[: len(VECTORS["requantize"])]] == [
        v["out"] for v in VECTORS["requantize"]
    ]
