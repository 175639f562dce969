"""Which design plays a tape: the choice of an array, its limits and padding."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from mmfree.chip.external_memory import find_memory
from mmfree.chip.records import records
from mmfree.chip.sizing import (
    array_shape,
    describe_padding,
    design_for,
    design_for_memory,
    design_for_model,
    design_of_array,
    image_weight_words,
    padding_share,
    refuse_another_design,
    stream_words,
)
from mmfree.contract.pow2 import DEFAULT_FORMATS
from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.errors import InputError
from mmfree.training.presets import addition_model
from tests.support.random_tapes import random_tape

ADDITION = addition_model()
DESIGN = design_for_model(ADDITION, 64)


def test_addition_design() -> None:
    assert (DESIGN.rows, DESIGN.columns, DESIGN.post_width, DESIGN.lanes) == (4, 16, 2, 64)
    # Per layer 3 * 64 * 64 + 64 * 64 + 2 * 128 * 64 + 64 * 128 weights; ten head rows are three
    # blocks of four.
    words = 2 * (4 * 64 * 64 + 3 * 64 * 128) // 64 + 3 * 4 + 9
    assert DESIGN.weight_words == image_weight_words(ADDITION, 4, 16) == words
    assert (DESIGN.max_tiles, DESIGN.embedding_tiles, DESIGN.max_blocks) == (8, 4, 32)
    assert DESIGN.groups_per_block == 2
    assert DESIGN.accumulator_bits == 17


def test_a_tape_has_64_lanes_and_2_bits_unless_others_are_asked_for() -> None:
    tape = random_tape(np.random.default_rng(0), **ADDITION.to_dict())
    found = design_for(tape)
    assert (found.lanes, found.weight_code) == (64, "2")
    assert found == design_for(tape, 64, "2")
    assert design_for(tape, weight_code="1.6") == design_for(tape, 64, "1.6")
    refuse_another_design(found, None, None, "folder")
    refuse_another_design(found, 64, "2", "folder")
    with pytest.raises(InputError, match=r"^--lanes 0: the design in folder has 64; leave the opt"):
        refuse_another_design(found, 0, None, "folder")
    with pytest.raises(InputError, match=r"^--bits 1.67: the design in folder has 2; leave the op"):
        refuse_another_design(found, 64, "1.67", "folder")


@pytest.mark.parametrize("lanes", [4, 8, 16, 64, 256, 1024, 4096])
def test_every_lane_count_gives_a_design(lanes: int) -> None:
    design = design_for_model(ADDITION, lanes)
    assert design.lanes == lanes
    assert design.rows % design.post_width == 0 == design.columns % design.post_width


def test_the_post_processing_is_as_wide_as_the_array_needs() -> None:
    """The array makes an output in hidden_size / columns cycles of a row.

    P outputs per cycle are enough for that with a quarter to spare, and P is no larger than needed.
    """
    for lanes in (64, 256, 1024, 4096):
        design = design_for_model(ADDITION, lanes)
        needed = 1.25 * lanes / 64
        assert design.post_width >= min(needed, design.rows, design.columns)
        assert design.post_width < 2 * needed


@pytest.mark.parametrize(
    ("lanes", "array"),
    [
        *((4, (2, 2, 1)), (8, (4, 2, 1)), (16, (4, 4, 1)), (32, (4, 8, 1)), (64, (4, 16, 2))),
        *((128, (8, 16, 4)), (256, (16, 16, 8)), (512, (16, 32, 16)), (1024, (16, 64, 16))),
        # 50 words instead of the 82 of 16 x 128; from there on 16 rows are no longer best.
        *((2048, (32, 64, 32)), (4096, (64, 64, 64)), (1 << 20, (1024, 1024, 1024))),
    ],
)
def test_lanes_are_split_into_16_columns_then_16_rows(
    lanes: int, array: tuple[int, int, int]
) -> None:
    """Where that wastes nothing; and the least width that is enough, 1.25 lanes / 64, or a side."""
    design = design_for_model(ADDITION, lanes)
    assert (design.rows, design.columns, design.post_width) == array


def model(d: int, i: int, head: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=31, head_size=head, hidden_size=d, intermediate_size=i, num_layers=1
    )


@pytest.mark.parametrize(
    ("sizes", "lanes", "words", "split"),
    [
        # 1,106 words as preferred, 1,084 by one factor of two beside it: 2.03 % more.
        ((100, 60, 50), 64, {(4, 16): 1106, (8, 8): 1084}, (8, 8)),
        # 153 and 151: 1.3 %. 157 and, by two factors, 154: 1.9 %.
        ((60, 90, 40), 256, {(16, 16): 153, (8, 32): 151}, (16, 16)),
        ((64, 100, 10), 256, {(16, 16): 157, (4, 64): 154}, (16, 16)),
        # Two are as good and as far away: the fewer rows.
        ((50, 50, 50), 256, {(16, 16): 133, (4, 64): 109, (64, 4): 109}, (4, 64)),
    ],
)
def test_another_split_has_to_save_2_percent_per_factor_of_two(
    sizes: tuple[int, int, int],
    lanes: int,
    words: dict[tuple[int, int], int],
    split: tuple[int, int],
) -> None:
    config = model(*sizes)
    assert {array: image_weight_words(config, *array) for array in words} == words
    assert array_shape(config, lanes) == split


@pytest.mark.parametrize(
    ("d", "lanes", "width"),
    [(80, 64, 1), (79, 64, 2), (512, 1024, 4), (256, 1024, 8), (1024, 1024, 4), (1024, 512, 2)],
)
def test_outputs_per_cycle_have_two_reasons(d: int, lanes: int, width: int) -> None:
    """1.25 lanes / d, and a lane's 256th, the larger; a power of two that is not below it."""
    assert design_for_model(model(d, d, d), lanes).post_width == width


@pytest.mark.parametrize(
    ("sizes", "max_width", "max_rows"),
    [((20, 37, 5), 37, 37), ((37, 20, 5), 37, 37), ((20, 9, 50), 20, 50)],
)
def test_limits_are_those_of_the_largest_matrix(
    sizes: tuple[int, int, int], max_width: int, max_rows: int
) -> None:
    """Of 4 x 4 lanes: blocks of four rows, of which P values are a word."""
    d, i, head = sizes
    design = design_of_array(
        replace(model(*sizes), vocab_size=11, num_layers=3), 4, 4, 2, weight_code="1.6"
    )
    # The matrix of a segment in blocks and tiles; a check word follows each segment.
    d_words, i_words, head_blocks = -(-d // 4), -(-i // 4), -(-head // 4)
    layer = 4 * d_words**2 + 2 * i_words * d_words + d_words * i_words + 4
    assert design.to_dict() == {
        "rows": 4,
        "columns": 4,
        "post_width": 2,
        "max_width": max_width,
        "max_rows": max_rows,
        "weight_words": 3 * layer + head_blocks * d_words + 1,
        "header_words": 1 + 3 * 4 + 1,
        "embedding_rows": 11,
        "embedding_width": d,
        "bias_words": 3 * d_words * 2,
        "state_words": 3 * d_words * 2,
        "weight_code": "1.6",
        "memory": "block",
        "formats": asdict(DEFAULT_FORMATS),
        "value_bits": 16,
        "arithmetic": "pow2",
        "stores_logits": True,
    }


def test_the_weight_code_is_the_one_that_was_asked_for() -> None:
    tape = random_tape(np.random.default_rng(0), **model(8, 9, 5).to_dict())
    for code in ("1.6", "1.67"):
        assert design_for_model(ADDITION, 16, code).weight_code == code
        assert design_for(tape, 16, code) == design_for_model(tape.config, 16, code)
    assert design_for(tape, 16).weight_code == design_for_model(ADDITION, 16).weight_code == "2"


@pytest.mark.parametrize("lanes", [0, 3, 48, 2**21, -4])
def test_other_lane_counts_are_refused(lanes: int) -> None:
    with pytest.raises(
        InputError, match=f"lanes must be a power of two in 4..1048576, got {lanes}"
    ):
        array_shape(ADDITION, lanes)


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


def test_padding_of_every_kind_of_matrix() -> None:
    """d = 6, I = 10, 5 rows of the head at 4 x 4: 8 x 8, 12 x 8, 8 x 12 and 8 x 8 lanes."""
    weights = 4 * 6 * 6 + 2 * 10 * 6 + 6 * 10 + 5 * 6
    lanes = 4 * 8 * 8 + 2 * 12 * 8 + 8 * 12 + 8 * 8
    assert padding_share(model(6, 10, 5), 4, 4) == pytest.approx(1 - weights / lanes)
    assert describe_padding(0.0004) == "0.0 % of the lanes' work is padding"


def published(d: int, i: int, layers: int = 1, vocabulary: int = 32000) -> AbsmaxConfig:
    return AbsmaxConfig(
        vocab_size=vocabulary, hidden_size=d, intermediate_size=i, num_layers=layers
    )


def test_a_design_for_a_published_checkpoint() -> None:
    """Of 4 x 4 lanes: 20 rows are 5 blocks, 37 are 10; bounds are those of one layer."""
    config = published(20, 37, 3, 11)
    design = design_of_array(config, 4, 4, 2, weight_code="1.6")
    layer_words = 4 * 5 * 5 + 2 * 10 * 5 + 5 * 10 + 4
    parameters = sum(record.parameters for record in records(config, design))
    assert design.to_dict() == {
        "rows": 4,
        "columns": 4,
        "post_width": 2,
        "max_width": 37,
        "max_rows": 37,
        "weight_words": 3 * layer_words + 3 * 5 + 1 + parameters + 1,
        "header_words": 1 + 3 * 4 + 1,
        "embedding_rows": 11,
        "embedding_width": 20,
        "bias_words": 5 * 2,
        "state_words": 3 * 5 * 2,
        "weight_code": "1.6",
        "memory": "block",
        "formats": asdict(DEFAULT_FORMATS),
        "value_bits": 32,
        "arithmetic": "absmax",
        "stores_logits": True,
    }
    assert stream_words(config, design) == design.weight_words


def test_a_published_checkpoint_from_memory_keeps_no_logits_on_the_chip() -> None:
    external = find_memory("axi128x4")
    assert external is not None
    large = design_for_memory(published(1024, 2816, 24), external)
    assert (large.arithmetic, large.value_bits, large.stores_logits) == ("absmax", 32, False)
    assert (large.rows, large.columns, large.post_width) == (20, 16, 1)
    assert (large.bias_words, large.state_words) == (1040, 24 * 1040)
    own = design_for_memory(model(1024, 2816, 32000), external)
    assert (own.arithmetic, own.value_bits, own.stores_logits) == ("pow2", 16, True)


@pytest.mark.parametrize(
    ("sizes", "lanes", "width"),
    [
        # The published shapes; from 1,024 lanes on x for the gates takes longest: 4 turns of 16
        # rows, in the 44 cycles of 2816 / 64.
        *(
            ((1024, 2816), lanes, width)
            for lanes, width in ((64, 1), (256, 1), (512, 1), (1024, 2))
        ),
        *(((size, 0), 256, 1) for size in (2048, 2560)),
        # Output: two turns of 16 rows, in d / 16 cycles.
        *(((d, 4096), 256, width) for d, width in ((512, 1), (496, 2), (256, 2), (240, 4))),
        # Down: four, in I / 16.
        *(((1024, i), 256, width) for i, width in ((1024, 1), (1008, 2), (512, 2))),
        # As wide as the array of 32 x 8 is.
        ((8, 8), 256, 8),
    ],
)
def test_the_gain_unit_is_as_wide_as_the_array_needs(
    sizes: tuple[int, int], lanes: int, width: int
) -> None:
    """A row block's groups of P are taken in the cycles in which the array makes them."""
    config = published(sizes[0], sizes[1] or sizes[0] * 3, layers=2)
    assert design_for_model(config, lanes).post_width == width
