"""The state update against its golden twin and the worked vectors, with idle cycles between items."""

from __future__ import annotations

import numpy as np
import pytest

from hdl.update_state import UpdateState
from mmfree import golden
from mmfree.formats import DEFAULT_FORMATS
from tests.hdl.bench import Item, play, with_idle
from tests.hdl.values import IDLE, INT16_CORNERS, ints
from tests.vectors import VECTORS


@pytest.mark.parametrize("idle", IDLE)
def test_update_state(idle: float) -> None:
    rng = np.random.default_rng(2)
    block = UpdateState(2)
    cases = [tuple(vector[:3]) for vector in VECTORS["state"]]
    cases += [(f, c, h) for f in (0, 1, 128, 255, 256) for c in INT16_CORNERS for h in INT16_CORNERS]
    cases += [
        (int(rng.integers(0, 257)), int(rng.integers(-32768, 32768)), int(rng.integers(-32768, 32768)))
        for _ in range(300)
    ]
    items: list[Item] = [{"f": [f, 256 - f], "c": [c, c], "h": [h, h]} for f, c, h in cases]
    results = play(block, with_idle(items, idle), block.latency, ["o"])
    for (f, c, h), result in zip(cases, results, strict=True):
        expected = golden.update_state(ints([f, 256 - f]), ints(c), ints(h), DEFAULT_FORMATS)
        assert result["o"] == expected.tolist(), (f, c, h)
    assert [r["o"][0] for r in results[: len(VECTORS["state"])]] == [v[3] for v in VECTORS["state"]]
