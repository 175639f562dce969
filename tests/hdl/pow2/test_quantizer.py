"""The quantizer and its shift against golden twin and worked vectors, with idle cycles."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.pow2 import quantizer
from hdl.pow2.quantizer import Quantizer, bit_length, magnitude
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE, INT16_CORNERS, ints
from tests.support.vectors import VECTORS


def quantized(vector: list[int], columns: int, idle: float) -> tuple[list[int], int]:
    """(quantized vector, how many elements saturated); the shift comes a cycle before it."""
    shift = int(golden.quantize(ints(vector))[1][0])
    padded = vector + [0] * (-len(vector) % columns)
    items: list[Item] = [
        {"u": padded[n : n + columns], "shift": shift} for n in range(0, len(padded), columns)
    ]
    spread = [None, *with_idle(items, idle)]
    results = play(
        Quantizer(columns), spread, quantizer.LATENCY, ["q", "saturated"], {"shift": shift}
    )
    q = [value for result in results for value in result["q"]]
    assert not any(q[len(vector) :])
    return q[: len(vector)], sum(result["saturated"].bit_count() for result in results)


@pytest.mark.parametrize("columns", [2, 4, 16])
@pytest.mark.parametrize("idle", IDLE)
def test_quantizer(columns: int, idle: float) -> None:
    """Every shift; a largest element that saturates, and one that does not."""
    rng = np.random.default_rng(columns)
    for shift in range(16):
        for largest in (32767 >> shift, -32768 >> shift):
            vector = [*(rng.integers(-32768, 32768, 5 * columns - 1) >> shift).tolist(), largest]
            exact, _ = golden.quantize(ints(vector))
            expected = np.clip(exact, -128, 127).tolist(), int((exact > 127).sum())
            assert quantized(vector, columns, idle) == expected


def test_worked_vectors() -> None:
    for vector in VECTORS["quantizer"]:
        assert quantized(vector["u"], 4, 0.0)[0] == vector["q"]


class VectorShift(wiring.Component):
    """The shift of the kept ones of four values."""

    def __init__(self) -> None:
        super().__init__({"u": In(data.ArrayLayout(signed(16), 4)), "keep": In(4), "shift": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values: list[Value] = [self.u[i] for i in range(4)]
        size = magnitude(values, [self.keep[i] for i in range(4)])
        m.d.sync += self.shift.eq(15 - bit_length(m, size))
        return m


def test_the_shift_is_that_of_the_kept_values() -> None:
    rng = np.random.default_rng(1)
    vectors = [[value, 0, 0, value] for value in INT16_CORNERS]
    vectors += [[sign << n, 0, 0, (sign << n) - sign] for n in range(15) for sign in (1, -1)]
    vectors += [(rng.integers(-32768, 32768, 4) >> n % 16).tolist() for n in range(100)]
    items: list[Item] = [
        {"u": vector, "keep": keep}
        for vector in vectors
        for keep in (15, 1, 8, int(rng.integers(16)))
    ]
    results = play(VectorShift(), items, 1, ["shift"])
    for item, result in zip(items, results, strict=True):
        kept = [value if item["keep"] >> i & 1 else 0 for i, value in enumerate(item["u"])]
        assert result["shift"] == golden.quantize(ints(kept))[1][0], item
