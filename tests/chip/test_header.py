"""Headers: the fields of an entry of the segment table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mmfree.chip.design import Design
from mmfree.chip.header import KIND_CODES, header_bits, header_fields, pack_header
from mmfree.chip.sizing import design_for_model, design_of_array
from mmfree.contract.shape import AbsmaxConfig
from mmfree.training.presets import addition_model

DESIGN = design_for_model(addition_model(), 64)
ABSMAX = design_of_array(
    AbsmaxConfig(vocab_size=31, hidden_size=64, intermediate_size=128, num_layers=2), 4, 16, 1
)
of_designs = pytest.mark.parametrize("design", [DESIGN, ABSMAX], ids=lambda d: d.arithmetic)
FIELDS = {"kind": 1, "tiles": 4, "tail": 16}


@of_designs
def test_header_holds_every_field(design: Design) -> None:
    assert header_bits(design) == sum(field.bits * field.count for field in header_fields(design))
    names = [field.name for field in header_fields(design)]
    assert len(set(names)) == len(names)
    assert header_bits(replace(design, max_rows=4096)) > header_bits(design)


def test_kinds_have_their_numbers() -> None:
    """docs/accelerator.md: o and down are one operation."""
    assert KIND_CODES == {
        "embedding": 0,
        "gates": 1,
        "output": 2,
        "down": 2,
        "glu": 3,
        "head": 4,
    }


@of_designs
def test_fields_lie_side_by_side_from_the_low_bits_up(design: Design) -> None:
    """Each alone, at its largest and, if it is signed, at its smallest value."""
    assert pack_header(design, kind=0, tiles=0, tail=0) == 0
    offset = 0
    for field in header_fields(design):
        ones = (1 << field.bits) - 1
        for place in range(field.count):
            value = -1 if field.signed else ones
            numbers: Any = [0] * place + [value] if field.count > 1 else value
            word = pack_header(design, **{"kind": 0, "tiles": 0, "tail": 0, field.name: numbers})
            assert word == ones << offset
            offset += field.bits
    assert offset == header_bits(design)


def test_fields_of_a_published_checkpoint() -> None:
    """Names and widths, from the low bits up."""
    words = ABSMAX.weight_words.bit_length()
    assert [(field.name, field.bits, field.count) for field in header_fields(ABSMAX)] == [
        *(("kind", 3, 1), ("last", 1, 1), ("turns", 2, 1)),
        *((name, words, 1) for name in ("own_gains", "bounds", "gains")),
        *(("tiles", 4, 1), ("tail", 5, 1), ("blocks", 6, 1), ("tail_rows", 3, 1)),
        *(("multiplier", 24, 3), ("base", 10, 3)),
        *(("offset", 24, 1), ("offset_exponent", 10, 1), ("square_exponent", 10, 1)),
    ]
    signed = [field.name for field in header_fields(ABSMAX) if field.signed]
    assert signed == ["base", "offset_exponent", "square_exponent"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 8}, "kind cannot be 8"),
        ({"tail": 32}, "tail cannot be 32"),
        ({"base": [0, 16]}, "base cannot be 16"),
        ({"base": [-17]}, "base cannot be -17"),
        ({"multiplier": [1, 1, 1, 1]}, "multiplier has 3 numbers"),
    ],
)
def test_a_number_that_does_not_fit_its_field_is_a_bug(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        pack_header(DESIGN, **{**FIELDS, **change})


def test_numbers_at_their_limits_are_packed() -> None:
    for change in ({"kind": 7}, {"tail": 31}, {"base": [15, -16]}, {"multiplier": [511] * 3}):
        fields: dict[str, Any] = {**FIELDS, **change}
        assert pack_header(DESIGN, **fields)
