"""Random tapes: like trained models, or built to saturate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.pow2 import (
    ROLES,
    SEGMENT_ROLES,
    SHIFT_BASE_MIN,
    TABLE_ENTRIES,
    sigmoid_table,
    silu_table,
)
from mmfree.contract.shape import ModelConfig
from mmfree.tape.pow2 import Matrix, Segment, Tape, segment_shapes


def random_tape(
    rng: np.random.Generator,
    *,
    hidden_size: int,
    intermediate_size: int,
    num_layers: int,
    vocab_size: int,
    head_size: int,
    gate: str,
    token_shift: int = 0,
    wild: bool = False,
) -> Tape:
    """A valid tape of the given shape, with scales, biases and tables as trained models have them.

    ``wild``: with scales up to the largest allowed, biases over all of int16, tables of random
    int16 and an embedding at full scale, so that every saturation that docs/arithmetic.md calls
    reachable is reached within a few tokens.
    """
    config = ModelConfig(
        vocab_size=vocab_size,
        head_size=head_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=num_layers,
        gate=gate,
        token_shift=token_shift,
    )
    segments = tuple(
        Segment(
            kind=kind,
            layer=layer,
            matrices=tuple(
                _random_matrix(rng, role, rows, fan_in, gate, wild) for role in SEGMENT_ROLES[kind]
            ),
        )
        for kind, layer, rows, fan_in in segment_shapes(config)
    )
    return Tape(
        config=config,
        tokenizer={"kind": "none"},
        segments=segments,
        embedding=rng.integers(-128, 128, (vocab_size, hidden_size)).astype(np.int8),
        embedding_shift=8 if wild else 3,
        sigmoid=_random_table(rng, 0, 256) if wild else sigmoid_table(),
        silu=(
            _random_table(rng, -32767 if gate == "signed" else -32768, 32767)
            if wild
            else silu_table()
        ),
    )


def _random_matrix(
    rng: np.random.Generator, role: str, rows: int, fan_in: int, gate: str, wild: bool
) -> Matrix:
    fraction_bits = ROLES[role].fraction_bits(gate)
    # e is 9 - a - fb: the smallest e is the largest scale. Half of the wild matrices keep a tame
    # scale.
    largest = 9 - fraction_bits - SHIFT_BASE_MIN
    exponent = int(rng.integers(-1, 2))
    if wild and rng.random() < 0.5:
        exponent = int(rng.integers(2, largest + 1))
    multiplier = int(rng.integers(128, 257))
    trits = rng.integers(-1, 2, (rows, fan_in)).astype(np.int8)
    if wild and role == "head":  # logits saturate only at the largest scale
        exponent, multiplier = largest, 256
        trits[trits == 0] = 1
    bias = None
    if role == "f":
        spread = 32768 if wild else 64
        bias = rng.integers(-spread, spread, rows).astype(np.int16)
    return Matrix.of(
        trits,
        role=role,
        multiplier=multiplier,
        exponent=exponent,
        bias=bias,
    )


def _random_table(rng: np.random.Generator, low: int, high: int) -> NDArray[np.int16]:
    return rng.integers(low, high + 1, TABLE_ENTRIES).astype(np.int16)


_EXPONENTS = {"o": -1, "down": -1, "head": 2}
"""Of a realistic tape, by role; 1 for the others, whose outputs have eight bits."""


def realistic_tape(seed: int, config: ModelConfig) -> Tape:
    """A tape whose values stay in range however large the model is; made in seconds.

    A third of the weights is 0. An output of eight bits is rarely beyond half of its range, every
    layer changes the residual by some tenths of the embedding, and logits are a few nats apart.
    """
    rng = np.random.default_rng(seed)
    segments = tuple(
        Segment(
            kind=kind,
            layer=layer,
            matrices=tuple(
                Matrix.of(
                    rng.integers(-1, 2, (rows, fan_in), dtype=np.int8),
                    role=role,
                    multiplier=int(rng.integers(128, 257)),
                    exponent=_EXPONENTS.get(role, 1),
                    bias=rng.integers(-64, 65, rows, dtype=np.int16) if role == "f" else None,
                )
                for role in SEGMENT_ROLES[kind]
            ),
        )
        for kind, layer, rows, fan_in in segment_shapes(config)
    )
    return Tape(
        config=config,
        tokenizer={"kind": "none"},
        segments=segments,
        embedding=rng.integers(-128, 128, (config.vocab_size, config.hidden_size), dtype=np.int8),
        embedding_shift=3,
        sigmoid=sigmoid_table(),
        silu=silu_table(),
    )
