"""The choice of the next token against its golden twin and the worked vectors, with idle cycles."""

from __future__ import annotations

import numpy as np
import pytest

from hdl.arithmetic.argmax import Argmax
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE
from tests.support.vectors import VECTORS


def grouped(values: list[int], width: int) -> list[list[int]]:
    """Groups of ``width``; the last is filled with zeros."""
    filled = values + [0] * (-len(values) % width)
    return [filled[i : i + width] for i in range(0, len(filled), width)]


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("idle", IDLE)
def test_argmax(width: int, idle: float) -> None:
    """Ties often, all values negative sometimes, rows of padding that would win."""
    rng = np.random.default_rng(4)
    for rows in (1, 3, 4, 10, 16):
        for spread, offset in ((3, 0), (3, -30000), (65536, -32768)):
            logits = (rng.integers(0, spread, rows) + offset).astype(np.int16)
            block = Argmax(width, 4, 17)
            clear: Item = {"clear": 1, "valid": 0, "keys": [0] * width, "keep": 0, "group": 0}
            items: list[Item] = [clear]
            for group, values in enumerate(grouped(logits.tolist(), width)):
                keep = sum(1 << p for p in range(width) if group * width + p < rows)
                padded = [v if keep >> p & 1 else 65535 for p, v in enumerate(values)]
                items.append({"clear": 0, "valid": 1, "keys": padded, "keep": keep, "group": group})
            quiet = {"clear": 0, "valid": 0}
            results = play(block, with_idle(items, idle), block.latency, ["row"], quiet)
            assert results[-1]["row"] == golden.Golden.next_token(logits)


def test_argmax_vector() -> None:
    vector = VECTORS["next_token"]
    block = Argmax(2, 2, 17)
    items: list[Item] = [
        {"clear": 0, "valid": 1, "keys": group, "keep": 3, "group": index}
        for index, group in enumerate(grouped(vector["logits"], 2))
    ]
    assert play(block, items, block.latency, ["row"])[-1]["row"] == vector["row"]
