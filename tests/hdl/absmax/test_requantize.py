"""Requantization against its golden twin: every shift, both limits, and what just fits."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hdl.absmax.requantize import LATENCY, Requantize
from mmfree.golden import absmax as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE

INT32 = -(1 << 31), (1 << 31) - 1


def requantized(acc: int, factor: int, shift: int) -> tuple[int, bool]:
    """(value, whether it was clamped): section 8 of docs/arithmetic_absmax.md."""
    product = acc * factor
    if shift == 0:
        return INT32[product > 0] if product else 0, product != 0
    exact = (product + (1 << shift - 1)) >> shift
    value = min(max(exact, INT32[0]), INT32[1])
    return value, value != exact


def cases(rng: random.Random, bits: int) -> list[tuple[int, int, int]]:
    low, high = -1 << bits - 1, (1 << bits - 1) - 1
    found = []
    for shift in range(63):
        factors = [0, 1, (1 << 23), (1 << 24) - 1, *(rng.getrandbits(24) for _ in range(3))]
        found += [(rng.randint(low, high), factor, shift) for factor in factors]
        found += [(acc, rng.getrandbits(24), shift) for acc in (low, high, -1, 0, 1)]
        # Around both limits, and around halves.
        for target in (INT32[1], INT32[0], 1, -1):
            factor = rng.randrange(1 << 23, 1 << 24)
            acc = ((2 * target + 1) << shift) // (2 * factor)
            found += [(acc + n, factor, shift) for n in (-1, 0, 1) if low <= acc + n <= high]
    # 2^31 - 1/2, which rounds beyond the range, and -2^31 - 1/2, which does not.
    found += [(65535, 65537 << shift - 1, shift) for shift in range(1, 8) if high >= 65535]
    found += [(-641, 6700417, 1), (-641, 6700417 << 1, 2)]
    return found


@pytest.mark.parametrize(("bits", "width"), [(20, 1), (11, 2), (17, 4)])
@pytest.mark.parametrize("idle", IDLE)
def test_requantize(bits: int, width: int, idle: float) -> None:
    rng = random.Random(bits)
    items: list[Item] = []
    for acc, factor, shift in cases(rng, bits):
        lanes = [acc, *(rng.randrange(-1 << bits - 1, 1 << bits - 1) for _ in range(width - 1))]
        items.append({"acc": lanes, "factor": factor, "shift": shift})
    rng.shuffle(items)
    block = Requantize(bits, width)
    results = play(block, with_idle(items, idle), LATENCY, ["z", "saturated"], early={"shift": 1})
    clamped = set()
    for item, result in zip(items, results, strict=True):
        expected = [requantized(acc, item["factor"], item["shift"]) for acc in item["acc"]]
        assert result["z"] == [value for value, _ in expected], item
        assert result["saturated"] == sum(over << n for n, (_, over) in enumerate(expected)), item
        clamped |= {(item["shift"] == 0, value) for value, over in expected if over}
        twin = golden.requantize(
            np.array(item["acc"], dtype=np.int64), item["factor"], item["shift"]
        )
        assert np.clip(twin, *INT32).tolist() == result["z"]
    assert clamped == {(whole, limit) for whole in (False, True) for limit in INT32}
