"""Row scale: elements of the embedding against their definition in integers."""

from __future__ import annotations

import random

import pytest

from hdl.absmax.row_scale import LATENCY, RowScale
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE, small_design

CORNERS = [-128, -127, -1, 0, 1, 127]


def scaled(element: int, scale: int, shift: int) -> int:
    """Section 2 of docs/arithmetic_absmax.md: rnd(element * scale, shift)."""
    product = element * scale
    return product << -shift if shift <= 0 else (product + (1 << shift - 1)) >> shift


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("idle", IDLE)
def test_row_scale(width: int, idle: float) -> None:
    """Every shift, each with rows of the largest and smallest scales."""
    design = small_design(width, 4, 4, post_width=width, arithmetic="absmax", value_bits=32)
    rng = random.Random(width)
    for shift in range(-7, 23):
        items: list[Item] = []
        for scale in (0, 1, 65535, 32768, *(rng.getrandbits(16) for _ in range(20))):
            lanes = [rng.choice(CORNERS), *(rng.randrange(-128, 128) for _ in range(width - 1))]
            items.append({"elements": lanes, "scale": scale, "shift": shift})
        # Ties: the product ends with the half alone.
        if shift > 0:
            items.append(
                {"elements": [1] * width, "scale": 3 << shift - 1 & 0xFFFF, "shift": shift}
            )
            items.append(
                {"elements": [-1] * width, "scale": 1 << min(shift - 1, 15), "shift": shift}
            )
        block = RowScale(design)
        # The shift is there before the first elements.
        spread = [None, None, *with_idle(items, idle)]
        results = play(block, spread, LATENCY, ["o"], idle={"shift": shift})
        for item, result in zip(items, results, strict=True):
            expected = [scaled(element, item["scale"], shift) for element in item["elements"]]
            assert result["o"] == expected, item
