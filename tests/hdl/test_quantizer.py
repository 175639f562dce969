"""The quantizer against its golden twin and the worked vectors, with idle cycles between items."""

from __future__ import annotations

import numpy as np
import pytest

from hdl import quantizer
from hdl.quantizer import Quantizer
from mmfree import golden
from tests.hdl.bench import Item, play, with_idle
from tests.hdl.values import IDLE, ints
from tests.vectors import VECTORS


@pytest.mark.parametrize("idle", IDLE)
def test_quantizer(idle: float) -> None:
    rng = np.random.default_rng(0)
    vectors = [vector["u"] for vector in VECTORS["quantizer"]]
    vectors += [(rng.integers(-32768, 32768, 4) >> int(rng.integers(0, 16))).tolist() for _ in range(300)]
    items: list[Item] = []
    expected = []
    for vector in vectors:
        u = ints(vector + [0] * (4 - len(vector)))
        q, shift = golden.quantize(u)
        items.append({"u": u.tolist(), "keep": 15, "shift": int(shift[0])})
        expected.append((np.clip(q, -128, 127).tolist(), sum(1 << i for i in range(4) if q[i] > 127)))
    results = play(Quantizer(4), with_idle(items, idle), quantizer.LATENCY, ["q", "saturated"])
    assert [(r["q"], r["saturated"]) for r in results] == expected
    for vector, result in zip(VECTORS["quantizer"], results, strict=False):
        assert result["q"][: len(vector["q"])] == vector["q"]


def test_quantizer_masks_what_is_not_kept() -> None:
    items: list[Item] = [{"u": [32767, -32768, 100, 5], "keep": keep, "shift": 0} for keep in range(16)]
    for keep, result in enumerate(play(Quantizer(4), items, quantizer.LATENCY, ["q", "saturated"])):
        full = [127, -128, 0, 0]
        assert result["q"] == [q if keep >> i & 1 else 0 for i, q in enumerate(full)]
        assert result["saturated"] == keep & 1
