"""Headers: the fields of an entry of the segment table, and how they are packed to a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmfree.chip.design import Design
from mmfree.contract.absmax import CONSTANT_BITS
from mmfree.contract.pow2 import SEGMENT_ROLES

KIND_CODES = {"embedding": 0, "gates": 1, "output": 2, "down": 2, "glu": 3, "head": 4}
"""Kind field of a header. o and down are one operation: project, add to the residual."""

MATRICES_PER_SEGMENT = max(len(roles) for roles in SEGMENT_ROLES.values())


EXPONENT_BITS = 10
"""Signed bits of the exponents of two of absmax."""


@dataclass(frozen=True)
class HeaderField:
    """A field of an entry: ``count`` numbers of ``bits`` bits, the first in the low bits."""

    name: str
    bits: int
    count: int = 1
    signed: bool = False


def header_fields(design: Design) -> tuple[HeaderField, ...]:
    """The fields of an entry, from the low bits up.

    ``tail`` is the number of elements in the vector's last word, ``tail_rows`` the number of rows
    in the last row block.

    pow2: with an external memory ``parameters`` says that the segment's record holds those of the
    next. ``multiplier`` and ``base`` are those of each matrix (m and e of docs/arithmetic.md, 6 and
    7), the first base of the embedding is its shift.

    absmax: ``turns`` is log2 of the products with gains that each element needs which the segment
    writes. ``bounds`` and ``gains`` are the words of lower bounds and gains after its tiles, for
    the segment after it; ``own_gains`` those for what it writes itself (the embedding alone).
    ``multiplier`` is c of each matrix, ``base`` what its shift is counted from; the first of the
    embedding is the shift to the residual's format. ``offset`` * 2^``offset_exponent`` is added to
    the sum under the root, and ``square_exponent`` is that of the squares of gained elements
    (docs/arithmetic_absmax.md, 5, 6 and 8).
    """
    absmax = design.arithmetic == "absmax"
    before: tuple[HeaderField, ...] = (HeaderField("gate", 2),)
    after: tuple[HeaderField, ...] = (
        HeaderField("multiplier", 9, MATRICES_PER_SEGMENT),
        HeaderField("base", 5, MATRICES_PER_SEGMENT, signed=True),
    )
    if design.external is not None:
        before += (HeaderField("parameters", 1),)
    if absmax:
        words = design.weight_words.bit_length()
        before = (
            HeaderField("turns", 2),
            HeaderField("own_gains", words),
            HeaderField("bounds", words),
            HeaderField("gains", words),
        )
        after = (
            HeaderField("multiplier", CONSTANT_BITS, MATRICES_PER_SEGMENT),
            HeaderField("base", EXPONENT_BITS, MATRICES_PER_SEGMENT, signed=True),
            HeaderField("offset", CONSTANT_BITS),
            HeaderField("offset_exponent", EXPONENT_BITS, signed=True),
            HeaderField("square_exponent", EXPONENT_BITS, signed=True),
        )
    return (
        HeaderField("kind", 3),
        HeaderField("last", 1),
        *before,
        HeaderField("tiles", design.max_tiles.bit_length()),
        HeaderField("tail", design.columns.bit_length()),
        HeaderField("blocks", design.max_blocks.bit_length()),
        HeaderField("tail_rows", design.rows.bit_length()),
        *after,
    )


def header_bits(design: Design) -> int:
    """Width of an entry."""
    return sum(field.bits * field.count for field in header_fields(design))


def pack_header(design: Design, **values: int | Sequence[int]) -> int:
    """The word of an entry with these fields, of which a design need not have all.

    Fields and numbers of matrices that are left out are 0.
    """
    word, offset = 0, 0
    for field in header_fields(design):
        value = values.get(field.name, 0)
        lowest = -(1 << field.bits - 1) if field.signed else 0
        for place, number in enumerate([value] if isinstance(value, int) else value):
            assert place < field.count, f"{field.name} has {field.count} numbers"
            assert lowest <= number < lowest + (1 << field.bits), f"{field.name} cannot be {number}"
            word |= (number & ((1 << field.bits) - 1)) << offset + place * field.bits
        offset += field.count * field.bits
    return word
