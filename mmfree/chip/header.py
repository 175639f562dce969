"""Headers: the fields of an entry of the segment table, and how they are packed to a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmfree.chip.design import Design
from mmfree.contract.pow2 import SEGMENT_ROLES

KIND_CODES = {"embedding": 0, "gates": 1, "output": 2, "down": 2, "glu": 3, "head": 4}
"""Kind field of a header. o and down are one operation: project, add to the residual."""

MATRICES_PER_SEGMENT = max(len(roles) for roles in SEGMENT_ROLES.values())


@dataclass(frozen=True)
class HeaderField:
    """A field of an entry: ``count`` numbers of ``bits`` bits, the first in the low bits."""

    name: str
    bits: int
    count: int = 1
    signed: bool = False


def header_fields(design: Design) -> tuple[HeaderField, ...]:
    """The fields of an entry, from the low bits up.

    With an external memory ``parameters`` says that the segment's record holds those of the next.
    ``tail`` is the number of elements in the vector's last word, ``tail_rows`` the number of rows
    in the last row block; ``multiplier`` and ``base`` are those of each matrix (m and e of
    docs/arithmetic.md, 6 and 7), the first base of the embedding is its shift.
    """
    external = (HeaderField("parameters", 1),) if design.external is not None else ()
    return (
        HeaderField("kind", 3),
        HeaderField("last", 1),
        HeaderField("gate", 2),
        *external,
        HeaderField("tiles", design.max_tiles.bit_length()),
        HeaderField("tail", design.columns.bit_length()),
        HeaderField("blocks", design.max_blocks.bit_length()),
        HeaderField("tail_rows", design.rows.bit_length()),
        HeaderField("multiplier", 9, MATRICES_PER_SEGMENT),
        HeaderField("base", 5, MATRICES_PER_SEGMENT, signed=True),
    )


def header_bits(design: Design) -> int:
    """Width of an entry."""
    return sum(field.bits * field.count for field in header_fields(design))


def pack_header(
    design: Design,
    *,
    kind: int,
    tiles: int,
    tail: int,
    last: int = 0,
    gate: int = 0,
    parameters: int = 0,
    blocks: int = 0,
    tail_rows: int = 0,
    multiplier: Sequence[int] = (),
    base: Sequence[int] = (),
) -> int:
    """The word of an entry with these fields; numbers of matrices that it has not got are 0."""
    values: dict[str, Sequence[int]] = {
        "kind": (kind,),
        "last": (last,),
        "gate": (gate,),
        "parameters": (parameters,),
        "tiles": (tiles,),
        "tail": (tail,),
        "blocks": (blocks,),
        "tail_rows": (tail_rows,),
        "multiplier": multiplier,
        "base": base,
    }
    word, offset = 0, 0
    for field in header_fields(design):
        lowest = -(1 << field.bits - 1) if field.signed else 0
        for place, value in enumerate(values[field.name]):
            assert place < field.count, f"{field.name} has {field.count} numbers"
            assert lowest <= value < lowest + (1 << field.bits), f"{field.name} cannot be {value}"
            word |= (value & ((1 << field.bits) - 1)) << offset + place * field.bits
        offset += field.count * field.bits
    return word
