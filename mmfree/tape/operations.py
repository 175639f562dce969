"""What one token costs, counted from the tape (docs/arithmetic.md, 17; docs/arithmetic_absmax.md,
15).
"""

from __future__ import annotations

from dataclasses import dataclass

from mmfree.contract.absmax import ROLES_BY_KIND, WITHOUT_NORM
from mmfree.contract.pow2 import SEGMENT_ROLES
from mmfree.tape.absmax import AbsmaxMatrix, AbsmaxTape
from mmfree.tape.pow2 import Matrix, Tape


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


def count_operations(tape: Tape | AbsmaxTape) -> Operations:
    """Operations per token of a tape, as a chip of its arithmetic makes them."""
    return _of_absmax(tape) if isinstance(tape, AbsmaxTape) else _of_pow2(tape)


def _nonzero(matrix: Matrix | AbsmaxMatrix) -> int:
    weights = matrix.rows * matrix.fan_in
    return weights - round(matrix.zeros() * weights)


def _of_pow2(tape: Tape) -> Operations:
    config = tape.config
    matrices = [matrix for segment in tape.segments for matrix in segment.matrices]
    channels = config.num_layers * config.hidden_size
    glu_channels = config.num_layers * config.intermediate_size
    return Operations(
        ternary_additions=tape.num_ternary_weights,
        nonzero_weights=sum(_nonzero(matrix) for matrix in matrices),
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


def _of_absmax(tape: AbsmaxTape) -> Operations:
    config = tape.config
    d, vocabulary = config.hidden_size, config.vocab_size
    channels = config.num_layers * d
    glu_channels = config.num_layers * config.intermediate_size
    gains = squares = scales = requantized = nonzero = 0
    for segment in tape.segments:
        normed, matrices = segment.kind != WITHOUT_NORM, len(SEGMENT_ROLES[segment.kind])
        gains += segment.fan_in * (len(ROLES_BY_KIND[segment.kind]) + normed)
        # Of elements with the norm's gains, and of those that its own norm sees; down has one norm.
        squares += segment.fan_in * (1 + normed)
        # c * R and the largest element for each matrix; epsilon.
        scales += 2 * matrices + normed
        for matrix in segment.matrices:
            requantized += matrix.rows
            nonzero += _nonzero(matrix)
    silu = 2 * channels + glu_channels
    return Operations(
        ternary_additions=tape.num_ternary_weights,
        nonzero_weights=nonzero,
        table_reads={"sigmoid": silu + channels, "gumbel": vocabulary},
        products={
            "embedding": d,
            "gain": gains,
            "square": squares,
            "scale": scales,
            "requantize": requantized,
            "interpolate": silu + channels,
            "silu": silu,
            "forget_gate": channels,
            "update_state": channels,
            "gated_product": channels + glu_channels,
            "noise": vocabulary,
        },
    )
