"""Formats, roles and constants of the arithmetic "absmax", that of tapes of published checkpoints
(docs/arithmetic_absmax.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1

PROJECTION_EPS = 1e-6
"""The epsilon inside each projection's own norm: a constant of the released kernel, which no
config.json sets.
"""

SMALLEST_ABSMEAN = 1e-5
"""Lower limit of mean |W| in the released quantizer of weights."""

SIGMOID_FB = 24
SIGMOID_STEP_FB = 8
SIGMOID_ENTRIES = 16 << SIGMOID_STEP_FB
"""Sigmoid table: 0, 1/256, ... below 16; values with 24 fraction bits."""

SIGMOID_RISE_BITS = 15
"""Bits of the rise from an entry of the sigmoid table to the next."""

CONSTANT_BITS = 24
"""Bits of the mantissas on the tape: of a matrix's constant, and of what a segment adds under its
root."""

CUT_BITS = 28
"""Highest bits of an element that its product with a gain takes, and of that product again."""

CUT_EXPONENT_BITS, CUT_EXPONENT_BIAS = 7, 28
"""How the exponent of a cut element is stored: plus the bias, 1..87; 0 with a mantissa of 0."""

SQUARE_BITS = 18
"""Bits to which an element is rounded before it is squared."""

SCALAR_BITS = 31
"""Bits of a scalar's mantissa."""

GAIN_BITS = 24
"""Bits of a gain, of those that the quantizer reads and of those that only a root reads.

With 16 bits for the former an activation was rounded the other way in up to 15 % of the vectors,
with 24 in none looked at (docs/decisions/0015); for the latter docs/decisions/0023.
"""

ROLES_BY_KIND = {
    "gates": ("i", "f", "g"),
    "output": ("o",),
    "glu": ("gate_up",),
    "down": ("down",),
    "head": ("head",),
}
"""Matrices of each kind of segment.

gate and up are one matrix with one gain and one scale: rows 0..I-1 are gate, the rest up.
"""

WITHOUT_NORM = "down"
"""The kind of segment whose matrix has only its own norm; all others have another one before it."""


@dataclass(frozen=True, kw_only=True)
class AbsmaxFormats:
    """Fraction bits of the 32-bit words.

    Parameters
    ----------
    residual_fb
        Of the residual: 18, so that it reaches +-8192.
    activation_fb
        Of activations, candidate and state.
    forget_fb
        Of f and the lower bounds, 0..2^forget_fb. At most 22, for a lower bound takes three bytes
        on the tape.
    logit_fb
        Of the logits.

    Raises
    ------
    InputError
        If a number is not an integer in its range.
    """

    residual_fb: int = 18
    activation_fb: int = 20
    forget_fb: int = 20
    logit_fb: int = 16

    def __post_init__(self) -> None:
        limits = {
            "residual_fb": (8, 24),
            "activation_fb": (8, 24),
            "forget_fb": (8, 22),
            "logit_fb": (9, 24),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InputError(
                    f"formats.{name} must be an integer in {low}..{high}, got {value!r}"
                )


DEFAULT_ABSMAX_FORMATS = AbsmaxFormats()


def sigmoid_table() -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """The sigmoid table: values int32 and rises uint16, [4096] each.

    With SIG[j] = floor(2^24 * sigmoid(j / 256) + 1/2) a value is SIG[j], its rise SIG[j + 1] -
    SIG[j].
    """
    step = 2.0**-SIGMOID_STEP_FB
    points = [
        math.floor(2**SIGMOID_FB / (1 + math.exp(-j * step)) + 0.5)
        for j in range(SIGMOID_ENTRIES + 1)
    ]
    values = np.array(points, dtype=np.int32)
    return values[:-1], np.diff(values).astype(np.uint16)
