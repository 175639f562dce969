"""Shapes, formats and constants of the second arithmetic, "absmax", in which published checkpoints are played (docs/arithmetic_absmax.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.config import check_sizes
from mmfree.formats import MAX_FAN_IN

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1

PROJECTION_EPS = 1e-6
"""The epsilon inside each projection's own norm: a constant of the released kernel, not of config.json."""

SMALLEST_ABSMEAN = 1e-5
"""Lower limit of mean |W| in the released quantizer of weights."""

SIGMOID_FB = 24
SIGMOID_STEP_FB = 8
SIGMOID_ENTRIES = (16 << SIGMOID_STEP_FB) + 1
"""Sigmoid table: 0, 1/256, ..., 16; values with 24 fraction bits."""

CONSTANT_BITS = 24
"""Bits of the mantissa of a matrix's constant."""

NORM_GAIN_BITS, GAIN_BITS = 16, 24
"""Bits of a norm's gains, which only a sum of squares reads, and of the gains that the quantizer reads."""

ROLES_BY_KIND = {
    "gates": ("i", "f", "g"),
    "output": ("o",),
    "glu": ("gate_up",),
    "down": ("down",),
    "head": ("head",),
}
"""Matrices of each kind of segment. gate and up are one matrix with one gain and one scale: rows 0..I-1 are gate, the rest up."""

WITHOUT_NORM = "down"
"""The kind of segment whose matrix has only its own norm; all others have another norm before it."""


@dataclass(frozen=True, kw_only=True)
class AbsmaxConfig:
    """Shape of a published model.

    Parameters
    ----------
    vocab_size, hidden_size, intermediate_size, num_layers
        Rows of embedding and head; d; I; L.
    norm_eps
        Epsilon of the block norms, of the norm on g and of the last norm (``rms_norm_eps`` of config.json), above 0.
    bos_token_id, eos_token_id
        Ids that begin and end a text, or None.

    Raises
    ------
    ValueError
        If a field is out of range.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    norm_eps: float = 1e-6
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "vocab_size": 1 << 24,
            "hidden_size": MAX_FAN_IN,
            "intermediate_size": MAX_FAN_IN,
            "num_layers": 4096,
        }
        check_sizes(self, limits)
        if type(self.norm_eps) is not float or not 1e-12 <= self.norm_eps <= 1:
            raise ValueError(f"config: norm_eps must be a number in 1e-12..1, got {self.norm_eps!r}")
        for name in ("bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 0 <= value < self.vocab_size):
                raise ValueError(f"config: {name} must be null or in 0..{self.vocab_size - 1}, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order."""
        return asdict(self)

    @property
    def head_size(self) -> int:
        """Rows of the head: one per token id."""
        return self.vocab_size

    @property
    def num_ternary_weights(self) -> int:
        """Ternary weights read per token: all projections and the head."""
        return sum(rows * fan_in * len(ROLES_BY_KIND[kind]) for kind, _, rows, fan_in in self.segments())

    @property
    def num_parameters(self) -> int:
        """Parameters of the checkpoint: ternary weights, embedding, lower bounds and gains."""
        d, i = self.hidden_size, self.intermediate_size
        gains = self.num_layers * (8 * d + i) + 2 * d
        return self.num_ternary_weights + self.vocab_size * d + self.num_layers * d + gains

    @property
    def num_state_words(self) -> int:
        """Words of recurrent state: one per layer and channel."""
        return self.num_layers * self.hidden_size

    def segments(self) -> Iterator[tuple[str, int | None, int, int]]:
        """Yield (kind, layer, rows of each matrix, fan_in) of every segment, in the order of use."""
        d, i = self.hidden_size, self.intermediate_size
        shapes = {"gates": (d, d), "output": (d, d), "glu": (2 * i, d), "down": (d, i)}
        for layer in range(self.num_layers):
            for kind, (rows, fan_in) in shapes.items():
                yield kind, layer, rows, fan_in
        yield "head", None, self.vocab_size, d


@dataclass(frozen=True, kw_only=True)
class AbsmaxFormats:
    """Fraction bits of the 32-bit words: the residual; activations, candidate and state; logits; and of f and the lower bounds (0..2^forget_fb, in 24 bits on the tape)."""

    residual_fb: int = 18
    activation_fb: int = 20
    forget_fb: int = 20
    logit_fb: int = 16

    def __post_init__(self) -> None:
        limits = {"residual_fb": (8, 24), "activation_fb": (8, 24), "forget_fb": (8, 22), "logit_fb": (9, 24)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"formats.{name} must be an integer in {low}..{high}, got {value!r}")


DEFAULT_ABSMAX_FORMATS = AbsmaxFormats()


def sigmoid_values() -> NDArray[np.int32]:
    """The sigmoid table: int32 [4097], floor(2^24 * sigmoid(j / 256) + 1/2)."""
    step = 2.0**-SIGMOID_STEP_FB
    values = [math.floor(2**SIGMOID_FB / (1 + math.exp(-j * step)) + 0.5) for j in range(SIGMOID_ENTRIES)]
    return np.array(values, dtype=np.int32)
