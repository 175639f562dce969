"""Contents of a tape of a model trained here (docs/arithmetic.md)."""

from __future__ import annotations

import numpy as np

from mmfree.chip.contents.entries import Contents, Entry
from mmfree.contract.pow2 import GATES, ROLES
from mmfree.tape.pow2 import Segment, Tape


def contents_of(tape: Tape) -> Contents:
    """What a tape puts into a chip's memories."""
    embedding = Entry(
        kind="embedding", width=tape.config.hidden_size, fields={"base": [tape.embedding_shift]}
    )
    # Entry j of a tape's table is for index j - 128; the chip addresses it by the index's low bits.
    tables = np.concatenate([np.roll(tape.sigmoid, -128), np.roll(tape.silu, -128)])
    return Contents(
        entries=[embedding, *(_entry(tape, segment) for segment in tape.segments)],
        embedding=tape.embedding,
        tables=[int(value) & 0xFFFF for value in tables],
    )


def _entry(tape: Tape, segment: Segment) -> Entry:
    matrices = segment.matrices
    biases = [matrix.bias for matrix in matrices if matrix.bias is not None]
    return Entry(
        kind=segment.kind,
        height=matrices[0].rows,
        width=segment.fan_in,
        fields={
            "gate": GATES.index(tape.config.gate),
            "multiplier": [matrix.multiplier for matrix in matrices],
            "base": [
                ROLES[matrix.role].shift_base(matrix.exponent, tape.config.gate, tape.formats)
                for matrix in matrices
            ],
        },
        trits=lambda: [matrix.trits for matrix in matrices],
        bounds=biases[0] if biases else None,
    )
