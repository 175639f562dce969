"""Cuts against Python's integers, at every bit length and at the edges of each."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hdl.absmax.norm.gains import GAIN
from hdl.arithmetic.cut import Cut, cut_latency
from hdl.payloads import CUT
from mmfree.golden import cuts as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE


def cut_of(value: int, bits: int) -> dict[str, int]:
    """Section 3 of docs/arithmetic_absmax.md, by the digits of the magnitude."""
    digits = f"{abs(value):b}" if value else ""
    mantissa = int(f"{digits:0<{bits}}"[:bits] or "0", 2) if digits else 0
    return {"mantissa": mantissa, "exponent": len(digits), "negative": int(value < 0)}


def edges(bits: int) -> list[int]:
    """Powers of two, their neighbours, and integers of every length, of both signs."""
    rng = random.Random(bits)
    found = {0, (1 << bits - 1) - 1, -1 << bits - 1}
    for length in range(1, bits):
        for value in (1 << length - 1, (1 << length) - 1, rng.getrandbits(length)):
            found |= {value, -value, value | 1 << length - 1}
    return sorted(found)


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize(("bits", "width"), [(32, 1), (24, 3), (64, 2), (20, 1), (5, 2), (33, 1)])
def test_every_length(bits: int, width: int, idle: float) -> None:
    layout = GAIN if bits == 24 else CUT
    block = Cut(bits, width, layout)
    assert block.latency == cut_latency(bits)
    values = edges(bits)
    groups = [[values[(n + 7 * p) % len(values)] for p in range(width)] for n in range(len(values))]
    items: list[Item] = [{"value": group} for group in groups]
    seen = play(block, with_idle(items, idle), block.latency, ["o"])
    size = layout["mantissa"].width
    for group, item in zip(groups, seen, strict=True):
        assert item["o"] == [cut_of(value, size) for value in group], group


def test_the_golden_model_cuts_the_same() -> None:
    values = edges(32) + edges(63)
    ours = [cut_of(value, 28) for value in values]
    theirs = golden.cut(np.array(values, dtype=np.int64))
    for name in ("mantissa", "exponent", "negative"):
        assert getattr(theirs, name).tolist() == [cut[name] for cut in ours], name
