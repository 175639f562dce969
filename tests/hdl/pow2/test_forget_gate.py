"""The forget gate against its golden twin and the worked vectors, with idle cycles."""

from __future__ import annotations

import pytest

from hdl.pow2.forget_gate import BY_TABLE, INDEX_LATENCY, TABLE_LATENCY, ForgetGate
from mmfree.contract.pow2 import DEFAULT_FORMATS, GATES, sigmoid_table
from mmfree.golden import pow2 as golden
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE, INT16_CORNERS, ints
from tests.support.vectors import VECTORS

LATE = {"entry": -INDEX_LATENCY - TABLE_LATENCY}
"""The table is outside: an item's entry comes TABLE_LATENCY cycles after its index."""


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("gate", ["hard", "signed"])
def test_hard_gates(gate: str, idle: float) -> None:
    """Every second item uses the table, as i and gate do, with no effect on the others."""
    block, code = ForgetGate(2), GATES.index(gate)
    sums = [(v["z"], v["bias"]) for v in VECTORS["gate"] if v["gate"] == gate]
    ends = [-128, -129, 127, 128, 20, -256, -257, 256, 257]
    sums += [(z, bias) for z in [*INT16_CORNERS, *ends] for bias in INT16_CORNERS]
    items: list[Item] = []
    for z, b in sums:
        items.append({"z": [z, 0], "bias": [b, b], "gate": code, "entry": [1, 2]})
        items.append({"z": [z, 0], "bias": [b, b], "gate": BY_TABLE, "entry": [3, 4]})
    results = play(block, with_idle(items, idle), block.latency, ["o", "saturated"], early=LATE)
    for (z, bias), result in zip(sums, results[::2], strict=True):
        expected = golden.forget_gate(ints([z + bias, bias]), gate, ints([0]), DEFAULT_FORMATS)
        assert result == {"o": expected.tolist(), "saturated": 0}
    for (z, bias), result in zip(sums, results[1::2], strict=True):
        clamped = [not -128 <= total <= 127 for total in (z + bias, bias)]
        assert result == {"o": [3, 4], "saturated": clamped[0] | clamped[1] << 1}


def test_table_gate_gives_the_index_then_the_entry() -> None:
    block = ForgetGate(1)
    sums = [(z, bias) for z in [*INT16_CORNERS, 127, 128, -128, -129] for bias in (0, 5, -5)]
    items: list[Item] = [
        {"z": [z], "bias": [b], "gate": BY_TABLE, "entry": [entry]}
        for entry, (z, b) in enumerate(sums, -20)
    ]
    indices = play(block, items, INDEX_LATENCY, ["index"], early=LATE)
    results = play(block, items, block.latency, ["o", "saturated"], early=LATE)
    for (z, bias), item, index, result in zip(sums, items, indices, results, strict=True):
        assert index["index"] == [max(-128, min(127, z + bias))]
        assert result == {"o": item["entry"], "saturated": not -128 <= z + bias <= 127}


def test_sigmoid_vectors_meet_the_table() -> None:
    for vector in (v for v in VECTORS["gate"] if v["gate"] == "sigmoid"):
        block = ForgetGate(1)
        item: Item = {"z": [vector["z"]], "bias": [vector["bias"]], "gate": BY_TABLE, "entry": [0]}
        index = play(block, [item], INDEX_LATENCY, ["index"])[0]["index"][0]
        assert sigmoid_table()[index + 128] == vector["f"]
