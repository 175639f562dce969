"""Headers: the fields of an entry of the segment table, and how they are packed to a word."""

from __future__ import annotations

from mmfree.chip.design import Design
from mmfree.contract.pow2 import SEGMENT_ROLES

KIND_CODES = {"embedding": 0, "gates": 1, "output": 2, "down": 2, "glu": 3, "head": 4}
"""Kind field of a header. o and down are one operation: project, add to the residual."""

MATRICES_PER_SEGMENT = max(len(roles) for roles in SEGMENT_ROLES.values())


def header_fields(design: Design) -> tuple[tuple[str, int], ...]:
    """Name and bits of the fields of an entry, from the low bits up.

    ``tail`` is the number of elements in the vector's last word, ``tail_rows`` the number of rows
    in the last row block; ``base*`` is signed (e of docs/arithmetic.md, 7; for the embedding, its
    shift).
    """
    return (
        ("kind", 3),
        ("last", 1),
        ("gate", 2),
        ("tiles", design.max_tiles.bit_length()),
        ("tail", design.columns.bit_length()),
        ("blocks", design.max_blocks.bit_length()),
        ("tail_rows", design.rows.bit_length()),
        *((f"multiplier{m}", 9) for m in range(MATRICES_PER_SEGMENT)),
        *((f"base{m}", 5) for m in range(MATRICES_PER_SEGMENT)),
    )


def header_bits(design: Design) -> int:
    """Width of an entry."""
    return sum(bits for _, bits in header_fields(design))


def pack_header(design: Design, **values: int) -> int:
    """The word of an entry with these fields; the others are 0."""
    word, offset = 0, 0
    for name, bits in header_fields(design):
        word |= (values.get(name, 0) & ((1 << bits) - 1)) << offset
        offset += bits
    return word
