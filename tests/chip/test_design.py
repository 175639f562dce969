"""Designs: sizes, limits and the choice of an array."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmfree.chip.design import Design
from mmfree.chip.header import header_bits, header_fields
from mmfree.chip.memory_map import (
    CHECK_BITS,
    LOAD_BITS,
    LOADED_MEMORIES,
    LoadedShape,
    chip_memories,
    group_bits,
    group_shape,
    loaded_shape,
    weight_memories,
    word_bits,
)
from mmfree.chip.sizing import (
    array_shape,
    describe_padding,
    design_for,
    image_weight_words,
    padding_share,
)
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape
from mmfree.training.presets import addition_model
from tests.support.random_tapes import random_tape


def tape_of(config: ModelConfig) -> Tape:
    return random_tape(np.random.default_rng(0), **config.to_dict())


ADDITION = tape_of(addition_model())
DESIGN = design_for(ADDITION, 64)


def test_addition_design() -> None:
    assert (DESIGN.rows, DESIGN.columns, DESIGN.post_width, DESIGN.lanes) == (4, 16, 2, 64)
    # Per layer 3 * 64 * 64 + 64 * 64 + 2 * 128 * 64 + 64 * 128 weights; ten head rows are three
    # blocks of four.
    words = 2 * (4 * 64 * 64 + 3 * 64 * 128) // 64 + 3 * 4 + 9
    assert DESIGN.weight_words == image_weight_words(ADDITION.config, 4, 16) == words
    assert (DESIGN.max_tiles, DESIGN.embedding_tiles, DESIGN.max_blocks) == (8, 4, 32)
    assert DESIGN.groups_per_block == 2
    assert DESIGN.accumulator_bits == 17


@pytest.mark.parametrize("lanes", [4, 64, 1024])
def test_the_counters_of_saturations_have_room_for_every_value_of_a_token(lanes: int) -> None:
    """Every element of every vector that is quantized, every output of every matrix."""
    vectors = sum(segment.matrices[0].trits.shape[1] for segment in ADDITION.segments)
    outputs = sum(
        matrix.trits.shape[0] for segment in ADDITION.segments for matrix in segment.matrices
    )
    assert (
        max(vectors, outputs)
        <= design_for(ADDITION, lanes).max_site_values
        < 8 * max(vectors, outputs)
    )


@pytest.mark.parametrize("lanes", [4, 8, 16, 64, 256, 1024, 4096])
def test_every_lane_count_gives_a_design(lanes: int) -> None:
    design = design_for(ADDITION, lanes)
    assert design.lanes == lanes
    assert design.rows % design.post_width == 0 == design.columns % design.post_width


def test_the_post_processing_is_as_wide_as_the_array_needs() -> None:
    """The array makes an output in hidden_size / columns cycles of a row.

    P outputs per cycle are enough for that with a quarter to spare, and P is no larger than needed.
    """
    for lanes in (64, 256, 1024, 4096):
        design = design_for(ADDITION, lanes)
        needed = 1.25 * lanes / 64
        assert design.post_width >= min(needed, design.rows, design.columns)
        assert design.post_width < 2 * needed


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


@pytest.mark.parametrize("lanes", [0, 3, 48, 2**21, -4])
def test_other_lane_counts_are_refused(lanes: int) -> None:
    with pytest.raises(
        InputError, match=f"lanes must be a power of two in 4..1048576, got {lanes}"
    ):
        array_shape(ADDITION.config, lanes)


def test_json_round_trip() -> None:
    assert Design.from_dict(DESIGN.to_dict()) == DESIGN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows must be a positive integer, got 0"),
        ({"rows": 1025}, r"rows must be in 1\.\.1024, got 1025"),
        ({"columns": 1}, r"columns must be a power of two in 2\.\.1024, got 1"),
        ({"columns": 12}, r"columns must be a power of two in 2\.\.1024, got 12"),
        ({"columns": 2048}, r"columns must be a power of two in 2\.\.1024, got 2048"),
        ({"rows": 12, "post_width": 3}, r"post_width must be a power of two in 1\.\.1024, got 3"),
        ({"rows": 6, "post_width": 4}, "post_width must divide rows and columns, got 4 for 6 x 16"),
        ({"value_bits": 15}, r"value_bits must be in 16\.\.32, got 15"),
        ({"value_bits": 33}, r"value_bits must be in 16\.\.32, got 33"),
        ({"value_bits": "16"}, "value_bits must be a positive integer, got '16'"),
        ({"post_width": 8}, "post_width must divide rows and columns, got 8 for 4 x 16"),
        ({"max_width": 0}, "max_width must be a positive integer, got 0"),
        ({"max_width": 65536}, "max_width must be at most 65535, got 65536"),
        ({"embedding_rows": 2**28 + 1}, "embedding_rows must be at most 268435456, got 268435457"),
        ({"weight_words": 2.5}, r"weight_words must be a positive integer, got 2\.5"),
        ({"formats": {"state_fb": 10}}, "only the default formats"),
        (
            {"formats": {"state": 10}},
            r"limits: formats: unknown field 'state'; known: \['forget_fb",
        ),
        ({"formats": [11]}, "limits: formats: expected a JSON object, got list"),
        (
            {"formats": {"state_fb": "11"}},
            r"limits: formats\.state_fb must be an integer in 0\.\.15",
        ),
        ({"weight_code": "3"}, r"weight_code must be one of 2, 1\.67, 1\.6, got '3'"),
        ({"weight_code": ["2"]}, r"weight_code must be one of 2, 1\.67, 1\.6, got \['2'\]"),
        ({"extra": 1}, "limits: unknown field 'extra'"),
    ],
)
def test_bad_limits_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Design.from_dict({**DESIGN.to_dict(), **change}, "limits")


def test_sizes_at_their_limits_are_taken() -> None:
    limits = {"rows": 1024, "columns": 1024, "max_width": 65535, "embedding_rows": 2**28}
    for change in ({"rows": 1023, "post_width": 1}, {"value_bits": 32}, limits):
        design = Design.from_dict({**DESIGN.to_dict(), **change})
        assert change.items() <= design.to_dict().items()


def test_limits_without_value_bits_are_those_of_16() -> None:
    limits = DESIGN.to_dict()
    del limits["value_bits"]
    assert Design.from_dict(limits) == DESIGN
    assert DESIGN.value_bits == 16


def test_limits_that_are_incomplete_or_no_object_are_refused() -> None:
    limits = DESIGN.to_dict()
    del limits["rows"]
    with pytest.raises(InputError, match="limits: missing field 'rows'"):
        Design.from_dict(limits, "limits")
    with pytest.raises(InputError, match="limits: expected a JSON object, got list"):
        Design.from_dict([], "limits")


def test_header_holds_every_field() -> None:
    assert header_bits(DESIGN) == sum(field.bits * field.count for field in header_fields(DESIGN))
    names = [field.name for field in header_fields(DESIGN)]
    assert len(set(names)) == len(names)
    assert header_bits(replace(DESIGN, max_rows=4096)) > header_bits(DESIGN)


@pytest.mark.parametrize(("d", "share"), [(256, 0.0), (257, 1 - 257**2 / 272**2)])
def test_padding_is_what_rows_and_columns_do_not_divide(d: int, share: float) -> None:
    """At 16 x 16 a width of 257 takes 17 blocks and tiles of 16; all matrices here are d x d."""
    config = ModelConfig(
        vocab_size=d, head_size=d, hidden_size=d, intermediate_size=d, num_layers=1, gate="hard"
    )
    assert padding_share(config, 16, 16) == pytest.approx(share)
    assert describe_padding(padding_share(config, 16, 16)) == (
        "10.7 % of the lanes' work is padding" if share else "no padding"
    )
