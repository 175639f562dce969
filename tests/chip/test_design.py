"""Designs: sizes and limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape
from mmfree.training.presets import addition_model
from tests.support.random_tapes import random_tape


def tape_of(config: ModelConfig) -> Tape:
    return random_tape(np.random.default_rng(0), **config.to_dict())


ADDITION = tape_of(addition_model())
DESIGN = design_for(ADDITION, 64)


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


@pytest.mark.parametrize(
    ("rows", "of_a_group"),
    [(1, 1), (2, 2), (4, 4), (8, 4), (1024, 4), (3, 3), (5, 5), (6, 3), (7, 1), (12, 4), (40, 5)],
)
def test_a_group_has_the_most_rows_that_divide_all(rows: int, of_a_group: int) -> None:
    design = replace(DESIGN, rows=rows, post_width=1)
    assert (design.group_rows, design.num_groups) == (of_a_group, rows // of_a_group)


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        # 128 channels: 8 bits beside the sign and 8 of the activation.
        ({}, (64, 1, 8, 4, 32, 2, 17, 2)),
        ({"max_width": 127, "embedding_width": 65}, (64, 1, 8, 5, 32, 2, 16, 2)),
        ({"rows": 10, "post_width": 1, "max_rows": 51}, (160, 2, 8, 4, 6, 10, 17, 2)),
        ({"weight_code": "1.67", "max_rows": 129}, (64, 1, 8, 4, 33, 2, 17, 2)),
        ({"weight_code": "int8", "max_width": 129}, (64, 1, 9, 4, 32, 2, 24, 8)),
    ],
)
def test_sizes_that_follow(changes: dict[str, Any], sizes: tuple[int, ...]) -> None:
    design = replace(DESIGN, **changes)
    assert (
        *(design.lanes, design.num_groups, design.max_tiles, design.embedding_tiles),
        *(design.max_blocks, design.groups_per_block, design.accumulator_bits, design.lane_bits),
    ) == sizes


def test_the_most_values_of_a_site_are_whole_vectors_or_three_matrices() -> None:
    """In each entry of the segment table: 8 words of 16, or 3 times 32 blocks of 4."""
    assert DESIGN.header_words == 10
    assert DESIGN.max_site_values == 10 * 3 * 32 * 4
    assert replace(DESIGN, max_rows=40).max_site_values == 10 * 8 * 16
    assert replace(DESIGN, max_rows=41, max_width=113).max_site_values == 10 * 3 * 11 * 4


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
        ({"arithmetic": "pow3"}, "arithmetic must be one of pow2, absmax, got 'pow3'"),
        ({"arithmetic": ["pow2"]}, r"arithmetic must be one of pow2, absmax, got \['pow2'\]"),
        ({"arithmetic": "absmax"}, "value_bits must be 32 for absmax, got 16"),
        ({"stores_logits": 1}, "stores_logits must be true or false, got 1"),
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


def test_limits_that_say_nothing_else_are_those_of_models_trained_here() -> None:
    limits = DESIGN.to_dict()
    for name in ("value_bits", "arithmetic", "stores_logits"):
        del limits[name]
    assert Design.from_dict(limits) == DESIGN
    assert (DESIGN.value_bits, DESIGN.arithmetic, DESIGN.stores_logits) == (16, "pow2", True)


def test_limits_of_a_published_checkpoint() -> None:
    limits = {**DESIGN.to_dict(), "arithmetic": "absmax", "value_bits": 32, "stores_logits": False}
    design = Design.from_dict(limits)
    assert design.to_dict() == limits


def test_limits_that_are_incomplete_or_no_object_are_refused() -> None:
    limits = DESIGN.to_dict()
    del limits["rows"]
    with pytest.raises(InputError, match="limits: missing field 'rows'"):
        Design.from_dict(limits, "limits")
    with pytest.raises(InputError, match=r"^limits: design: rows must be in 1\.\.1024, got 1025$"):
        Design.from_dict({**DESIGN.to_dict(), "rows": 1025}, "limits")
    with pytest.raises(InputError, match=r"^limits: design: weight_code must be one of"):
        Design.from_dict({**DESIGN.to_dict(), "weight_code": "3"}, "limits")
    with pytest.raises(InputError, match="limits: expected a JSON object, got list"):
        Design.from_dict([], "limits")
