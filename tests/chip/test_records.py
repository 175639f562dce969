"""Records: sizes of the entries of a segment table, and of their words in the stream."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.memory_map import num_gains, parameter_words
from mmfree.chip.records import Record, array_shapes, records
from mmfree.chip.sizing import design_for_memory, design_of_array
from mmfree.contract.pow2 import LAYER_SEGMENTS, SEGMENT_ROLES
from mmfree.contract.shape import AbsmaxConfig, AnyConfig, ModelConfig

POW2 = ModelConfig(
    vocab_size=9, head_size=5, hidden_size=20, intermediate_size=37, num_layers=2, gate="hard"
)
ABSMAX = AbsmaxConfig(vocab_size=9, hidden_size=20, intermediate_size=37, num_layers=2)


def from_memory(config: AnyConfig) -> Design:
    external = find_memory("axi64")
    assert external is not None
    return design_for_memory(config, external)


def test_both_arithmetics_have_the_same_matrices() -> None:
    """Gate and up of a published checkpoint are two, of I rows each."""
    for config, rows in ((POW2, 5), (ABSMAX, 9)):
        layers = [
            ("gates", 20, 20),
            ("output", 20, 20),
            ("glu", 37, 20),
            ("down", 20, 37),
        ]
        assert list(array_shapes(config)) == [
            *((kind, layer, *sizes) for layer in range(2) for kind, *sizes in layers),
            ("head", None, rows, 20),
        ]


def test_the_gains_of_an_element() -> None:
    """Of each matrix with its own, and of the norm before them."""
    turns = {"gates": 4, "output": 2, "glu": 2, "down": 1, "head": 2}
    assert {kind: num_gains(kind) for kind in SEGMENT_ROLES} == turns


def weights(record: Record) -> tuple[int, int, int]:
    return record.matrices, record.blocks, record.tiles


@pytest.mark.parametrize("config", [POW2, ABSMAX], ids=["pow2", "absmax"])
def test_words_of_weights(config: AnyConfig) -> None:
    """Of 4 x 8 lanes: 20 rows or channels are 5 blocks or 3 tiles, 37 are 10 or 5."""
    embedding, *layers, head = records(config, design_of_array(config, 4, 8, 1))
    assert weights(embedding) == (0, 0, 3)
    assert (embedding.height, embedding.width, embedding.weights) == (0, 20, 0)
    for start in (0, 4):
        found = {record.kind: weights(record) for record in layers[start : start + 4]}
        assert tuple(found) == LAYER_SEGMENTS
        assert found == {
            "gates": (3, 5, 3),
            "output": (1, 5, 3),
            "glu": (2, 10, 3),
            "down": (1, 5, 5),
        }
    assert weights(head) == (1, -(-config.head_size // 4), 3)
    assert layers[2].weights == 2 * 10 * 3
    assert (layers[3].height, layers[3].width, layers[3].layer) == (20, 37, 0)


def test_records_of_pow2_have_biases_only_from_a_memory() -> None:
    """As many words for each layer as the design has biases; the embedding has a record then."""
    block = records(POW2, design_of_array(POW2, 4, 8, 1))
    assert [record.parameters for record in block] == [0] * 10
    assert [record.words for record in block] == [0, *(r.weights + 1 for r in block[1:])]
    design = from_memory(POW2)
    external = records(POW2, design)
    assert parameter_words(design) == 20 * 16 // 64
    assert [record.bounds for record in external] == [5, 0, 0, 0, 5, 0, 0, 0, 0, 0]
    assert [record.parameters for record in external] == [record.bounds for record in external]
    assert external[0].words == 5 + 1
    assert all(record.words == record.weights + record.bounds + 1 for record in external)
    assert all(record.turns == 0 for record in block + external)


@pytest.mark.parametrize("memory", ["block", "axi64"])
def test_records_of_absmax_hold_what_the_next_segment_needs(memory: str) -> None:
    """In block RAM 4 x 16 lanes: 128 bits, five parameters a word. From a memory 5 x 8: two.

    20 rows are 20 bounds, and 40 gains for two turns of w; 37 rows are 40 gains for their one turn;
    32 or 24 elements of the embedding 128 or 96 gains. Fewer gains of x follow what the last layer
    writes.
    """
    design = design_of_array(ABSMAX, 4, 16, 1) if memory == "block" else from_memory(ABSMAX)
    table = records(ABSMAX, design)
    each, elements = (6, 32) if memory == "block" else (2, 24)
    bounds, one, two, four, x = (-(-count // each) for count in (20, 40, 40, 80, 4 * elements))
    kinds = ["embedding", *LAYER_SEGMENTS, *LAYER_SEGMENTS, "head"]
    assert [record.kind for record in table] == kinds
    assert [record.own_gains for record in table] == [x, *[0] * 9]
    assert [record.bounds for record in table] == [bounds, *[0] * 3, bounds, *[0] * 5]
    # What gates write is read by output, what output writes by glu, and so on.
    gains = [two, two, one, four, two, two, one, two, 0, 0]
    assert [record.gains for record in table] == gains
    assert [record.turns for record in table] == [4, 2, 2, 1, 4, 2, 2, 1, 2, 0]
    for record in table:
        assert record.parameters == record.own_gains + record.bounds + record.gains
        assert record.words == record.weights + record.parameters + 1


def test_a_model_of_one_layer_and_one_element() -> None:
    config = AbsmaxConfig(vocab_size=1, hidden_size=1, intermediate_size=1, num_layers=1)
    table = records(config, design_of_array(config, 1, 2, 1))
    # 36 bits: a parameter a word. Both elements of the embedding's tile have gains.
    assert [asdict(record)["gains"] for record in table] == [2, 2, 1, 2, 0, 0]
    assert (table[0].own_gains, table[0].bounds) == (8, 1)
    assert [record.words for record in table] == [12, 3 + 2 + 1, 1 + 1 + 1, 2 + 2 + 1, 1 + 1, 1 + 1]
