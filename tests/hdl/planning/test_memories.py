"""What of a design is block RAM: with an external memory, and where it is too much to count."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from hdl.planning.cost import PORT_CELLS, features, fit, measured_rows, resources
from hdl.planning.memories import (
    LARGEST_PART_BITS,
    MOST_MEMORY_BITS,
    RING_WORDS,
    BlockRam,
    TooMuchMemoryError,
    memories,
    memory_bits,
    memory_blocks,
)
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_memories, parameter_words
from mmfree.chip.sizing import design_for_memory, design_for_model, design_of_array
from mmfree.contract.shape import AbsmaxConfig
from tests.support.sim.shapes import ADDITION, shape_of

LARGE = shape_of(1024, 2816, 24, 32000)
FOUR_PORTS = ExternalMemory(port_bits=128, ports=4)


def test_a_ring_for_each_port_and_the_biases_of_a_layer() -> None:
    """128 bits and the answer's are four blocks of 36, of the rows, too; biases of 17 bits, 8 to a
    port.
    """
    design = design_for_memory(LARGE, FOUR_PORTS)
    assert (design.rows, design.columns, parameter_words(design)) == (20, 16, 33)
    found = memories(design)
    assert found[0] == BlockRam(count=1, depth=98, part_bits=16, parts=5, reads=1), "headers"
    assert BlockRam(count=5 * 4, depth=RING_WORDS, part_bits=18, parts=2, reads=1) in found
    assert BlockRam(count=4, depth=33, part_bits=17, parts=8, reads=1) in found
    inside = memories(design_for_model(shape_of(1024, 2816, 1, 64), 256))
    assert not [memory for memory in inside if memory.depth == RING_WORDS and memory.count == 20]


def test_memories_of_a_published_model_by_hand() -> None:
    """Parameters, cut elements and wide values; logits only where they are stored."""
    config = AbsmaxConfig(vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_layers=24)
    design = design_for_memory(config, FOUR_PORTS)
    found = memories(design)
    # A word of parameters is 5 of each port, 125 bits with their parities: 7 parts of 18. Gains of
    # a vector: 4 * 1,040 for gates in 208 words, twice; lower bounds: 1,040 in 52.
    for depth in (2 * 208, 52):
        assert BlockRam(count=4, depth=depth, part_bits=18, parts=7, reads=1) in found
    # V: 3 * 64 words of 16 elements of 36 bits; activations as many of 128 bits.
    assert found.count(BlockRam(count=16, depth=192, part_bits=18, parts=2, reads=1)) == 1
    assert found.count(BlockRam(count=4, depth=192, part_bits=18, parts=2, reads=1)) == 1
    # The state's two banks of 24 * 1,040 values, and the residual, in halves of 16 bits.
    for depth in (2 * 24960, 1024):
        assert BlockRam(count=1, depth=depth, part_bits=16, parts=2, reads=1) in found
    assert not [memory for memory in found if memory.depth == 32000]
    inside = design_of_array(config, 20, 16, 1)
    assert inside.stores_logits
    logits = BlockRam(count=1, depth=32000, part_bits=16, parts=2, reads=1)
    few = replace(inside, weight_words=1024, embedding_rows=16)
    assert logits in memories(few)


def test_weights_embedding_and_biases_are_not_on_the_chip() -> None:
    design = design_for_memory(LARGE, FOUR_PORTS)
    assert set(LOADED_MEMORIES) - set(loaded_memories(design)) == {"weights", "embedding", "biases"}
    # Headers, tables, reciprocal root and noise: 98 x 80, 512 x 17, 256 x 9, 2,048 x 15 bits.
    assert memory_bits(design) == 98 * 80 + 512 * 17 + 256 * 9 + 2048 * 15
    depths = {memory.depth for memory in memories(design)}
    assert max(depths) == 2 * design.state_words, "the state is the deepest"


def test_a_port_adds_what_was_measured_and_its_multiplexer() -> None:
    design = design_for_memory(LARGE, FOUR_PORTS)
    coefficients = fit(measured_rows())
    bare = {name: float(features(design) @ coefficients[name]) for name in ("luts", "flip_flops")}
    size = resources(design)
    # Four ports and that of the rows. Two of 32 biases are chosen: 16 words of 34 bits.
    assert size.luts - bare["luts"] == pytest.approx(5 * PORT_CELLS["luts"] + 34 * 15 / 2, abs=1)
    assert size.flip_flops - bare["flip_flops"] == pytest.approx(5 * 80, abs=1)
    assert size.blocks == memory_blocks(design)


def test_a_memory_that_no_part_has_is_an_error_at_once() -> None:
    """Of half a million LUTs for multiplexers nobody learns anything; and it took seconds."""
    design = design_for_model(LARGE, 64)
    start = time.process_time()
    for count in (resources, memory_blocks, memories, features):
        with pytest.raises(TooMuchMemoryError, match=r"hold 961 Mbit, and the largest part here"):
            count(design)
    assert time.process_time() - start < 0.5
    assert memory_bits(design) == pytest.approx(961e6, rel=1e-3)


def test_what_a_third_more_than_the_largest_part_holds_is_still_counted() -> None:
    assert LARGEST_PART_BITS < MOST_MEMORY_BITS < 1.5 * LARGEST_PART_BITS
    design = replace(ADDITION.design(), weight_words=MOST_MEMORY_BITS // 128 - 2000)
    assert 0.99 * MOST_MEMORY_BITS < memory_bits(design) <= MOST_MEMORY_BITS
    assert memory_blocks(design) > 7000
    with pytest.raises(TooMuchMemoryError):
        memory_blocks(replace(design, weight_words=MOST_MEMORY_BITS // 128))


def test_only_deep_vectors_take_block_ram() -> None:
    deep = memories(design_of_array(shape_of(2048, 4096, 1, 64), 8, 8, 2))
    shallow = memories(ADDITION.design())
    # x in 256, u and activations in 512 words of eight columns: four parts each, twice one.
    words = [memory for memory in deep if memory.part_bits == 18 and memory.parts == 2]
    assert [(memory.count, memory.depth) for memory in words] == [(4, 256), (4, 512), (4, 512)]
    assert not [memory for memory in shallow if memory.part_bits == 18 and memory.parts == 2]
