"""The gated product against its golden twin and the worked vectors, with idle cycles."""

from __future__ import annotations

import numpy as np
import pytest

from hdl.pow2.gated_product import GatedProduct
from mmfree.contract.pow2 import DEFAULT_FORMATS, silu_table
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE, INT16_CORNERS, ints
from tests.support.vectors import VECTORS


@pytest.mark.parametrize("idle", IDLE)
def test_gated_product(idle: float) -> None:
    rng = np.random.default_rng(3)
    block = GatedProduct(2)
    silu = silu_table()
    output, glu = VECTORS["output"], VECTORS["glu"]
    cases = [
        (output["g"], int(silu[((output["h"] + 64) >> 7) + 128])),
        (glu["up"], int(silu[glu["gate"] + 128])),
    ]
    # Operands of gates are int8, temperatures 0..255: both are of 9 signed bits.
    cases += [(a, b) for a in (-256, -128, -1, 0, 1, 127, 128, 255) for b in INT16_CORNERS]
    cases += [(int(rng.integers(-256, 256)), int(rng.integers(-32768, 32768))) for _ in range(300)]
    items: list[Item] = [{"operand": [a, 1], "value": [b, b]} for a, b in cases]
    results = play(block, with_idle(items, idle), block.latency, ["u", "saturated"])
    for (a, b), result in zip(cases, results, strict=True):
        exact = golden.gated_product(ints([a, 1]), ints(b), DEFAULT_FORMATS)
        clamped = np.clip(exact, -32768, 32767)
        assert result["u"] == clamped.tolist()
        assert result["saturated"] == sum(1 << i for i in range(2) if clamped[i] != exact[i])
    assert [r["u"][0] for r in results[:2]] == [output["u"], glu["u"]]


@pytest.mark.parametrize("value_bits", [18, 28])
def test_wider_values_clamp_later(value_bits: int) -> None:
    """With 28 bits the largest product fits."""
    block, top = GatedProduct(1, value_bits), (1 << value_bits - 1) - 1
    cases = [(a, b) for a in (-256, -255, 1, 255) for b in INT16_CORNERS]
    items: list[Item] = [{"operand": [a], "value": [b]} for a, b in cases]
    results = play(block, items, block.latency, ["u", "saturated"])
    exact = [a * b + 32 >> 6 for a, b in cases]
    assert [r["u"] for r in results] == [[max(-top - 1, min(top, u))] for u in exact]
    assert [r["saturated"] for r in results] == [u > top or u < -top - 1 for u in exact]
    assert any(r["saturated"] for r in results) == (value_bits == 18)
