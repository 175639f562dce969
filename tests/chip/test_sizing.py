"""Which design plays a tape: the choice of an array, its limits and padding."""

from __future__ import annotations

import pytest

from mmfree.chip.sizing import (
    array_shape,
    describe_padding,
    design_for_model,
    image_weight_words,
    padding_share,
)
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.training.presets import addition_model

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
