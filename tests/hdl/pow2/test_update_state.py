"""The state update against its golden twin and the worked vectors, with idle cycles."""

from __future__ import annotations

import numpy as np
import pytest

from hdl.pow2.update_state import UpdateState
from mmfree.contract.pow2 import DEFAULT_FORMATS
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE, INT16_CORNERS, ints
from tests.support.vectors import VECTORS


def other(f: int, c: int, h: int) -> int:
    """The second lane's gate: of the other sign, unless an operand is -32768."""
    return f if -32768 in (c, h) else abs(f) - 256


@pytest.mark.parametrize("idle", IDLE)
def test_update_state(idle: float) -> None:
    rng = np.random.default_rng(2)
    block = UpdateState(2)
    # -32768 has no negation: it occurs neither in a state nor in a table where f can be negative.
    corners = [value for value in INT16_CORNERS if value != -32768]
    cases = [tuple(vector[:3]) for vector in VECTORS["state"]]
    cases += [
        (f, c, h) for f in (-256, -255, -1, 0, 1, 128, 255, 256) for c in corners for h in corners
    ]
    bounds = ((-256, 257), (-32767, 32768), (-32767, 32768))
    cases += [tuple(int(rng.integers(*bound)) for bound in bounds) for _ in range(300)]
    cases += [(f, c, h) for f in (1, 255) for c in (-32768, 32767) for h in (-32768, 32767)]
    items: list[Item] = [{"f": [f, other(f, c, h)], "c": [c, c], "h": [h, h]} for f, c, h in cases]
    results = play(block, with_idle(items, idle), block.latency, ["o"])
    for (f, c, h), result in zip(cases, results, strict=True):
        expected = golden.update_state(ints([f, other(f, c, h)]), ints(c), ints(h), DEFAULT_FORMATS)
        assert result["o"] == expected.tolist(), (f, c, h)
    assert [r["o"][0] for r in results[: len(VECTORS["state"])]] == [v[3] for v in VECTORS["state"]]


@pytest.mark.parametrize("value_bits", [18, 28])
def test_wider_states(value_bits: int) -> None:
    """The candidate is an entry of a table, an int16 still."""
    rng = np.random.default_rng(value_bits)
    top = (1 << value_bits - 1) - 1
    cases = [(f, c, h) for f in (-256, -1, 0, 256) for c in (-32767, 32767) for h in (-top, top)]
    cases += [
        (
            int(rng.integers(-256, 257)),
            int(rng.integers(-32767, 32768)),
            int(rng.integers(-top, top)),
        )
        for _ in range(300)
    ]
    block = UpdateState(1, value_bits)
    items: list[Item] = [{"f": [f], "c": [c], "h": [h]} for f, c, h in cases]
    results = play(block, items, block.latency, ["o"])
    for (f, c, h), result in zip(cases, results, strict=True):
        start = -h if f < 0 else h
        assert result["o"] == [start + ((256 - abs(f)) * (c - start) + 128 >> 8)], (f, c, h)
