"""What one token costs, counted from the tape (docs/arithmetic.md, 17)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmfree.tape.pow2 import Tape


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Operations per token; those of padding are not counted.

    Attributes
    ----------
    ternary_additions
        One per ternary weight: an addition, a subtraction, or (for a zero weight) nothing.
    nonzero_weights
        Those of them that add or subtract.
    table_reads
        By table.
    products
        Variable products, made by shift-and-add units; by use. Noise is needed only where the
        temperature is above 0.
    """

    ternary_additions: int
    nonzero_weights: int
    table_reads: dict[str, int]
    products: dict[str, int]


def count_operations(tape: Tape) -> Operations:
    """Operations per token of a tape."""
    config = tape.config
    matrices = [matrix for segment in tape.segments for matrix in segment.matrices]
    channels = config.num_layers * config.hidden_size
    glu_channels = config.num_layers * config.intermediate_size
    return Operations(
        ternary_additions=tape.num_ternary_weights,
        nonzero_weights=sum(int(np.count_nonzero(matrix.trits)) for matrix in matrices),
        table_reads={
            "reciprocal_root": len(tape.segments),
            "sigmoid": channels if config.gate == "sigmoid" else 0,
            "silu": 2 * channels + glu_channels,
            "gumbel": config.head_size,
        },
        products={
            "requantize": sum(matrix.rows for matrix in matrices),
            "square": sum(segment.fan_in for segment in tape.segments),
            "scale": len(matrices),
            "update_state": channels,
            "gated_product": channels + glu_channels,
            "noise": config.head_size,
        },
    )
