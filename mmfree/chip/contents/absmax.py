"""Contents of a tape of a published checkpoint (docs/arithmetic_absmax.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.contents.entries import Contents, Entry
from mmfree.contract.absmax import SIGMOID_FB, SQUARE_BITS, AbsmaxFormats
from mmfree.tape.absmax import AbsmaxSegment, AbsmaxTape


def contents_of(tape: AbsmaxTape) -> Contents:
    """What a tape puts into a chip's memories; its matrices are read when they are decoded."""
    shift = tape.embedding_fb - tape.formats.residual_fb
    embedding = Entry(kind="embedding", width=tape.config.hidden_size, fields={"base": [shift]})
    values, rises = (tape.array(f"sigmoid/{name}") for name in ("values", "rises"))
    return Contents(
        entries=[embedding, *(_entry(tape, segment) for segment in tape.segments)],
        embedding=tape.array("embedding/rows"),
        scales=tape.array("embedding/scale"),
        tables=[
            int(value) | int(rise) << SIGMOID_FB for value, rise in zip(values, rises, strict=True)
        ],
    )


def _entry(tape: AbsmaxTape, segment: AbsmaxSegment) -> Entry:
    read_fb, written_fb = _vector_fb(segment.kind, tape.formats)
    gains = [matrix.gain for matrix in segment.matrices]
    # Those of the norm are signed numbers of fewer bits.
    all_gains = gains if segment.norm is None else [*gains, segment.norm]
    squares_fb = read_fb + (0 if segment.norm is None else segment.norm.fraction_bits)
    # Gate and up are one matrix on the tape, and two of the same constants in the array.
    copies = 2 if segment.kind == "glu" else 1
    multipliers = [matrix.mantissa for matrix in segment.matrices]
    bases = [
        read_fb + matrix.gain.fraction_bits - matrix.exponent - written_fb
        for matrix in segment.matrices
    ]
    bounds = tape.array("lower_bounds")[segment.layer] if segment.kind == "gates" else None
    offset, offset_exponent = segment.offset
    return Entry(
        kind=segment.kind,
        height=segment.matrices[0].rows // copies,
        width=segment.fan_in,
        fields={
            "multiplier": multipliers * copies,
            "base": bases * copies,
            "offset": offset,
            "offset_exponent": offset_exponent,
            # The squares are in units of 4^-SQUARE_BITS times those of the elements.
            "square_exponent": -2 * (SQUARE_BITS + squares_fb),
        },
        trits=lambda: _trits(segment, copies),
        gains=np.stack([gain.values for gain in all_gains], axis=1),
        bounds=bounds,
    )


def _trits(segment: AbsmaxSegment, copies: int) -> list[NDArray[np.int8]]:
    return [half for matrix in segment.matrices for half in np.split(matrix.trits(), copies)]


def _vector_fb(kind: str, formats: AbsmaxFormats) -> tuple[int, int]:
    """Fraction bits of the vector that a kind of segment reads, and of what it writes."""
    product_fb = 2 * formats.activation_fb
    return {
        "gates": (formats.residual_fb, formats.activation_fb),
        "output": (product_fb, formats.residual_fb),
        "glu": (formats.residual_fb, formats.activation_fb),
        "down": (product_fb, formats.residual_fb),
        "head": (formats.residual_fb, formats.logit_fb),
    }[kind]
