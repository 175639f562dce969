"""Requantization against its golden twin and the worked vectors, with idle cycles between items."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.requantize import Requantize, saturate
from mmfree.contract.pow2 import ROLES
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE, ints
from tests.support.vectors import VECTORS


class Saturate(wiring.Component):
    """A value of 8 bits, clamped to 5 of them."""

    def __init__(self) -> None:
        super().__init__({"i": In(signed(8)), "o": Out(signed(5)), "over": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value, over = saturate(self.i, 5)
        m.d.sync += [self.o.eq(value), self.over.eq(over)]
        return m


def test_every_value_is_clamped_to_the_range() -> None:
    values = range(-128, 128)
    results = play(Saturate(), [{"i": value} for value in values], 1, ["o", "over"])
    for value, result in zip(values, results, strict=True):
        assert result == {"o": max(-16, min(15, value)), "over": not -16 <= value < 16}


@pytest.mark.parametrize("idle", IDLE)
def test_requantize(idle: float) -> None:
    rng = np.random.default_rng(1)
    block = Requantize(17, 2)
    cases = [
        (
            v["acc"],
            v["M"],
            ROLES[v["role"]].shift_base(v["exponent"], "hard") + v["k"],
            v["role"] == "o",
        )
        for v in VECTORS["requantize"]
    ]
    for _ in range(500):
        acc = int(rng.choice([-65535, 65535, 0, 1, -1, int(rng.integers(-65535, 65536))]))
        scale = int(rng.choice([128, 510, int(rng.integers(128, 511))]))
        cases.append((acc, scale, int(rng.integers(1, 29)), bool(rng.integers(2))))
    items: list[Item] = [
        {"acc": [acc, -acc], "scale": scale, "shift": shift, "wide": wide}
        for acc, scale, shift, wide in cases
    ]
    outputs, early = ["z", "saturated"], {"shift": 1}
    results = play(block, with_idle(items, idle), block.latency, outputs, early=early)
    for (acc, scale, shift, wide), result in zip(cases, results, strict=True):
        exact = golden.requantize(ints([acc, -acc]), ints(scale), shift)
        high = 32767 if wide else 127
        clamped = np.clip(exact, -high - 1, high)
        assert result["z"] == clamped.tolist()
        assert result["saturated"] == sum(1 << i for i in range(2) if clamped[i] != exact[i])
    assert [r["z"][0] for r in results[: len(VECTORS["requantize"])]] == [
        v["out"] for v in VECTORS["requantize"]
    ]
