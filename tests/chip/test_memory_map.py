"""The memory map: which memories a host fills, their words, and the parts that are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.memory_map import (
    BUS_FAULTS,
    CHECK_BITS,
    LOAD_BITS,
    LOADED_MEMORIES,
    PAGE_BITS,
    PAGE_WORDS,
    LoadedShape,
    chip_memories,
    fault_memories,
    group_bits,
    group_shape,
    loaded_memories,
    loaded_shape,
    most_gains,
    page_words,
    parameter_bits,
    parameters_per_share,
    parameters_per_word,
    row_beats,
    row_words,
    weight_memories,
    word_bits,
    words_of_parameters,
)
from mmfree.chip.sizing import design_for_memory, design_for_model, design_of_array
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.contract.shape import AbsmaxConfig
from mmfree.training.presets import addition_model

DESIGN = design_for_model(addition_model(), 64)
PUBLISHED = AbsmaxConfig(vocab_size=31, hidden_size=64, intermediate_size=128, num_layers=2)


def from_memory(name: str) -> Design:
    """The smallest design of absmax with this memory."""
    external = find_memory(name)
    assert external is not None
    return design_for_memory(PUBLISHED, external)


@pytest.mark.parametrize("code", sorted(WEIGHT_CODES))
@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        *((1, 1), (2, 1), (4, 1), (8, 2), (64, 16)),
        *((3, 1), (5, 1), (6, 2), (7, 7), (12, 3), (20, 4), (40, 8), (1000, 200)),
    ],
)
def test_groups_of_rows_share_a_word(rows: int, groups: int, code: str) -> None:
    """Each group's share holds its rows or a check word, and is written by whole parts of the load
    port.
    """
    design = replace(DESIGN, rows=rows, post_width=1, weight_code=code)
    assert (design.num_groups, design.group_rows * groups) == (groups, rows)
    assert word_bits(design) == groups * group_bits(design)
    needed = max(CHECK_BITS, WEIGHT_CODES[code].word_bits(design.group_rows * design.columns))
    assert needed <= group_bits(design) < needed + LOAD_BITS
    shape = loaded_shape(design, "weights")
    assert (shape.bits, shape.depth) == (word_bits(design), design.weight_words)
    assert shape.part_bits == group_shape(design).part_bits <= LOAD_BITS
    assert shape.parts == groups * group_shape(design).parts
    assert shape.part_bits * group_shape(design).parts == group_bits(design)
    assert weight_memories(design) == tuple(f"weights_{group}" for group in range(groups))
    assert chip_memories(design) == (*weight_memories(design), *LOADED_MEMORIES[1:])


@pytest.mark.parametrize(
    ("bits", "parity", "parts", "part_bits"),
    [
        (17, True, 1, 18),
        (18, False, 1, 18),
        (18, True, 2, 10),
        (36, False, 2, 18),
        (128, True, 8, 17),
    ],
)
def test_words_are_written_in_equal_parts(
    bits: int, parity: bool, parts: int, part_bits: int
) -> None:
    shape = LoadedShape(bits, 4, parity=parity)
    assert (shape.parts, shape.part_bits) == (parts, part_bits)
    assert shape.with_parity(0b111) == (0b111 | parity << bits)
    assert shape.with_parity(0b101) == 0b101


def test_every_memory_has_its_words() -> None:
    """Of 4 x 16 lanes in groups of 4 rows: 128 bits of weights in 8 parts of 16; the addition's
    model has 2 layers of 64 channels, and 31 tokens.
    """
    shapes = {name: loaded_shape(DESIGN, name) for name in LOADED_MEMORIES}
    found = {
        name: (shape.bits, shape.depth, shape.parity, shape.parts, shape.part_bits)
        for name, shape in shapes.items()
    }
    assert found == {
        "weights": (128, DESIGN.weight_words, False, 8, 16),
        # kind, last, gate; tiles of 8, tail of 16; blocks of 32, tail_rows of 4; three of 9 and 5.
        "headers": (3 + 1 + 2 + 4 + 5 + 6 + 3 + 3 * 9 + 3 * 5, 10, True, 4, 17),
        "embedding": (128, 31 * 4, True, 8, 17),
        "biases": (32, 2 * 64 // 2, True, 2, 17),
        "tables": (16, 512, True, 1, 17),
        "reciprocal_root": (8, 256, True, 1, 9),
        "gumbel": (14, 2048, True, 1, 15),
    }
    assert (LOAD_BITS, CHECK_BITS, PAGE_BITS, PAGE_WORDS) == (18, 32, 4096, 4)


@pytest.mark.parametrize(
    ("array", "words"),
    [((4, 16), 32), ((5, 4), 97), ((2, 2), 128), ((64, 16), 4), ((32, 16), 4), ((16, 16), 8)],
)
def test_a_page_is_4096_bits_of_weights_but_four_words(array: tuple[int, int], words: int) -> None:
    """5 x 4 lanes take three parts of 14 bits a word: 4096 / 42 = 97.5."""
    rows, columns = array
    assert page_words(replace(DESIGN, rows=rows, columns=columns, post_width=1)) == words


def test_memories_of_a_published_checkpoint() -> None:
    """Of 4 x 16 lanes; the scale of a row takes a word, and there is no memory of parameters."""
    design = design_of_array(PUBLISHED, 4, 16, 1)
    held = ("weights", "headers", "embedding", "tables", "gumbel")
    assert loaded_memories(design) == held
    assert chip_memories(design) == ("weights_0", *held[1:])
    shapes = {name: loaded_shape(design, name) for name in held}
    words = design.weight_words.bit_length()
    assert {
        name: (shape.bits, shape.depth, shape.parity, shape.parts) for name, shape in shapes.items()
    } == {
        "weights": (144, design.weight_words, False, 8),
        # kind, last, turns, three counts of words; tiles of 8, tail of 16; blocks of 32, tail_rows
        # of 4; three of 24 and 10; offset and two exponents.
        "headers": (3 + 1 + 2 + 3 * words + 4 + 5 + 6 + 3 + 3 * 34 + 44, 10, True, 12),
        "embedding": (128, 31 * 5, True, 8),
        "tables": (39, 4096, True, 3),
        "gumbel": (14, 2048, True, 1),
    }
    assert (row_words(design), row_beats(design)) == (5, 6)
    assert (row_words(DESIGN), row_beats(DESIGN)) == (4, 5)
    for name in ("biases", "reciprocal_root"):
        with pytest.raises(AssertionError):
            loaded_shape(design, name)
    external = from_memory("axi64")
    assert loaded_memories(external) == chip_memories(external) == ("headers", "tables", "gumbel")


def test_faults_of_a_published_checkpoint_name_its_parameters() -> None:
    names = ("weights", "headers", "embedding", "parameters", "tables", "gumbel")
    assert fault_memories(design_of_array(PUBLISHED, 4, 16, 1)) == names
    assert fault_memories(from_memory("axi128x2")) == (*names, *BUS_FAULTS)
    assert fault_memories(DESIGN) == LOADED_MEMORIES


@pytest.mark.parametrize(
    ("array", "bits", "each"),
    [
        # Of 2 bits per weight; a check word of 32 bits, or as many parameters as P asks for.
        *(((1, 2, 1), 36, 1), ((2, 2, 2), 54, 2), ((4, 4, 4), 108, 4), ((4, 16, 1), 144, 6)),
        *(((4, 16, 2), 144, 6), ((4, 16, 4), 144, 4), ((8, 8, 8), 108, 4), ((8, 16, 2), 144, 6)),
        # Three groups of rows give whole words of P = 4 only with four each.
        *(((12, 4, 4), 108, 4), ((12, 4, 1), 36, 1), ((12, 16, 4), 144, 4)),
        *(((64, 16, 16), 144, 6), ((64, 32, 32), 270, 10)),
    ],
)
def test_a_word_holds_a_whole_number_of_groups_of_parameters(
    array: tuple[int, int, int], bits: int, each: int
) -> None:
    rows, columns, lanes = array
    design = replace(
        design_of_array(PUBLISHED, 4, 16, 1), rows=rows, columns=columns, post_width=lanes
    )
    assert (group_bits(design), parameters_per_share(design)) == (bits, each)
    whole = parameters_per_word(design)
    assert whole == design.num_groups * each
    assert whole % lanes == 0
    counts = {0: 0, 1: 1, whole: 1, whole + 1: 2}
    assert {count: words_of_parameters(design, count) for count in counts} == counts
    pow2 = replace(design, arithmetic="pow2", value_bits=16)
    assert (parameter_bits(design), parameter_bits(pow2)) == (24, 16)


@pytest.mark.parametrize(
    ("name", "each"), [("axi64", 2), ("axi64x4", 2), ("axi128x4", 5), ("axi512x2", 21)]
)
def test_parameters_of_a_beat(name: str, each: int) -> None:
    design = from_memory(name)
    assert parameters_per_share(design) == each
    assert parameters_per_share(replace(design, arithmetic="pow2", value_bits=16)) == (
        design.columns // 2
    )


@pytest.mark.parametrize(
    ("array", "sizes", "most"),
    [
        # Whole row blocks, or whole tiles, of x for the gates; of what the GLU writes.
        *(((6, 2, 1), (20, 37), 4 * 24), ((4, 16, 1), (20, 37), 4 * 32)),
        *(((4, 2, 1), (20, 81), 84), ((4, 2, 1), (20, 80), 80), ((4, 16, 2), (16, 70), 72)),
    ],
)
def test_most_gains_of_a_vector(
    array: tuple[int, int, int], sizes: tuple[int, int], most: int
) -> None:
    config = replace(PUBLISHED, hidden_size=sizes[0], intermediate_size=sizes[1])
    assert most_gains(design_of_array(config, *array)) == most
