"""The memory map: which memories a host fills, their words, and the parts that are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmfree.chip.memory_map import (
    CHECK_BITS,
    LOAD_BITS,
    LOADED_MEMORIES,
    PAGE_BITS,
    PAGE_WORDS,
    LoadedShape,
    chip_memories,
    group_bits,
    group_shape,
    loaded_shape,
    page_words,
    weight_memories,
    word_bits,
)
from mmfree.chip.sizing import design_for_model
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.training.presets import addition_model

DESIGN = design_for_model(addition_model(), 64)


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
