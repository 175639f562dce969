"""Number formats, roles and function tables of docs/arithmetic.md, shared by software and hardware.

Parameters are shared; implementations are not: the golden model and ``hdl`` each do the arithmetic
themselves.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError

INT8_MIN, INT8_MAX = -128, 127
INT16_MIN, INT16_MAX = -32768, 32767

VALUE_BITS = 16
"""Bits of a value of the vectors x and u, and of the state (section 2)."""

SHIFT_BASE_MIN, SHIFT_BASE_MAX = -5, 13
"""Range of e = 9 - a - fb_out (section 7), so that the shift e + k lies in 1..28."""

MULTIPLIER_MIN, MULTIPLIER_MAX = 128, 256
"""Range of m_w, the mantissa of a matrix's scale in 1/256 (section 3)."""

NORM_EXPONENT_MIN, NORM_EXPONENT_MAX = 6, 15
"""Range of k (section 6)."""

MAX_FAN_IN = 65535
"""Largest fan-in: S = sum q^2 then stays below 2^30 and k at most 15."""

TABLE_ENTRIES = 256

NOISE_INDEX_BITS = 10
"""Bits that address the table of Gumbel noise, and its tail (section 14)."""

TEMPERATURE_FB, TEMPERATURE_MAX = 6, 255
"""Fraction bits of a temperature, and the largest (section 14)."""

GATES = ("sigmoid", "hard", "signed")
"""Forget gates (section 9); a header holds the index."""

SATURATION_SITES = ("quantizer", "projection", "gate", "state", "product", "residual", "logit")
"""Names of the saturation counters, in the order of the chip's counters (section 16)."""


@dataclass(frozen=True, kw_only=True)
class Formats:
    """Fraction bits of every format (section 2). A design plays tapes of its own formats only.

    Raises
    ------
    InputError
        If a number is not an integer in 0..15.
    """

    residual_fb: int = 9
    index_fb: int = 4
    gate_sigmoid_fb: int = 4
    gate_hard_fb: int = 6
    forget_fb: int = 8
    state_fb: int = 11

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or not 0 <= value <= 15:
                raise InputError(f"formats.{name} must be an integer in 0..15, got {value!r}")


DEFAULT_FORMATS = Formats()


@dataclass(frozen=True)
class Role:
    """What a matrix's output is: its width and the format it is requantized to (section 7)."""

    name: str
    width_bits: int

    def fraction_bits(self, gate: str, formats: Formats = DEFAULT_FORMATS) -> int:
        """Fraction bits of this role's output under ``gate`` (one of GATES)."""
        if self.name == "f":
            return formats.gate_sigmoid_fb if gate == "sigmoid" else formats.gate_hard_fb
        return formats.index_fb if self.width_bits == 8 else formats.residual_fb

    def shift_base(self, exponent: int, gate: str, formats: Formats = DEFAULT_FORMATS) -> int:
        """e = 9 - a - fb_out, for the matrix exponent a (section 7)."""
        return 9 - exponent - self.fraction_bits(gate, formats)


ROLES = {
    role.name: role
    for role in (
        Role("i", 8),
        Role("f", 16),
        Role("g", 8),
        Role("o", 16),
        Role("gate", 8),
        Role("up", 8),
        Role("down", 16),
        Role("head", 16),
    )
}

SEGMENT_ROLES = {
    "gates": ("i", "f", "g"),
    "output": ("o",),
    "glu": ("gate", "up"),
    "down": ("down",),
    "head": ("head",),
}
"""Matrices of each kind of segment, in the order in which their row blocks are interleaved."""

LAYER_SEGMENTS = ("gates", "output", "glu", "down")
"""Kinds of the segments of a layer, in the order of use; the head follows the last layer."""

SEGMENT_MODULES = {"gates": "mixer", "output": "mixer", "glu": "glu", "down": "glu"}
"""Module of a checkpoint's layer that holds the matrices of a kind of segment, named by role."""


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def sigmoid_table(formats: Formats = DEFAULT_FORMATS) -> NDArray[np.int16]:
    """SIG of section 8: int16 [256], entry j for index j - 128, values 0..256."""
    step = 2.0**-formats.index_fb
    scale = 2**formats.forget_fb
    values = [math.floor(scale * _sigmoid(n * step) + 0.5) for n in range(-128, 128)]
    return np.array(values, dtype=np.int16)


def silu_table(formats: Formats = DEFAULT_FORMATS) -> NDArray[np.int16]:
    """SILU of section 8: int16 [256], entry j for index j - 128, values -570..16250."""
    step = 2.0**-formats.index_fb
    scale = 2**formats.state_fb
    values = [math.floor(scale * (n * step) * _sigmoid(n * step) + 0.5) for n in range(-128, 128)]
    return np.array(values, dtype=np.int16)


def reciprocal_root_table() -> NDArray[np.int16]:
    """RT of section 6: int16 [256]; entries 64..255 hold 128..255, the others 0 (never read)."""
    values = [0] * 64 + [math.floor(256 * math.sqrt(64 / (i + 0.5)) + 0.5) for i in range(64, 256)]
    return np.array(values, dtype=np.int16)


def gumbel_table(formats: Formats = DEFAULT_FORMATS) -> NDArray[np.int16]:
    """Gumbel noise of section 14: int16 [2048].

    1024 quantiles, then the uppermost of these in 1024 finer ones.
    """
    entries = 1 << NOISE_INDEX_BITS
    # With 1024 plain quantiles no noise exceeds 7.62, and among hundreds of rows ties at the top
    # are common (docs/decisions/0009).
    middles = [(j + 0.5) / entries for j in range(entries)]
    quantiles = [*middles, *(1 - (1 - middle) / entries for middle in middles)]
    scale = 2**formats.residual_fb
    values = [math.floor(scale * -math.log(-math.log(u)) + 0.5) for u in quantiles]
    return np.array(values, dtype=np.int16)
