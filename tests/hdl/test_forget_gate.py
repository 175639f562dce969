"""The forget gate against its golden twin and the worked vectors, with idle cycles between items."""

from __future__ import annotations

import pytest

from hdl.forget_gate import INDEX_LATENCY, TABLE_LATENCY, ForgetGate
from mmfree import golden
from mmfree.formats import DEFAULT_FORMATS, GATES, sigmoid_table
from tests.hdl.bench import Item, play, with_idle
from tests.hdl.values import IDLE, INT16_CORNERS, ints
from tests.vectors import VECTORS


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("gate", ["hard", "signed"])
def test_hard_gates(gate: str, idle: float) -> None:
    block, code = ForgetGate(2), GATES.index(gate)
    sums = [(v["z"], v["bias"]) for v in VECTORS["gate"] if v["gate"] == gate]
    ends = [-128, -129, 127, 128, 20, -256, -257, 256, 257]
    sums += [(z, bias) for z in [*INT16_CORNERS, *ends] for bias in INT16_CORNERS]
    items: list[Item] = [{"z": [z, 0], "bias": [b, b], "gate": code, "entry": [0, 0]} for z, b in sums]
    results = play(block, with_idle(items, idle), block.latency, ["o", "saturated"])
    for (z, bias), result in zip(sums, results, strict=True):
        expected = golden.forget_gate(ints([z + bias, bias]), gate, ints([0]), DEFAULT_FORMATS)
        assert result["o"] == expected.tolist()
        assert result["saturated"] == 0


def test_table_gate_gives_the_index_then_the_entry() -> None:
    """The table is outside: an item's entry comes TABLE_LATENCY cycles behind its index, and passes through."""
    block = ForgetGate(1)
    sums = [(z, bias) for z in [*INT16_CORNERS, 127, 128, -128, -129] for bias in (0, 5, -5)]
    items: list[Item] = [
        {"z": [z], "bias": [b], "gate": 0, "entry": [entry]} for entry, (z, b) in enumerate(sums, -20)
    ]
    late = {"entry": -INDEX_LATENCY - TABLE_LATENCY}
    indices = play(block, items, INDEX_LATENCY, ["index"], early=late)
    results = play(block, items, block.latency, ["o", "saturated"], early=late)
    for (z, bias), item, index, result in zip(sums, items, indices, results, strict=True):
        assert index["index"] == [max(-128, min(127, z + bias))]
        assert result == {"o": item["entry"], "saturated": not -128 <= z + bias <= 127}


def test_sigmoid_vectors_meet_the_table() -> None:
    for vector in (v for v in VECTORS["gate"] if v["gate"] == "sigmoid"):
        block = ForgetGate(1)
        item: Item = {"z": [vector["z"]], "bias": [vector["bias"]], "gate": 0, "entry": [0]}
        index = play(block, [item], INDEX_LATENCY, ["index"])[0]["index"][0]
        assert sigmoid_table()[index + 128] == vector["f"]
