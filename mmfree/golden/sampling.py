"""Choice of the next token: greedy, or drawn from softmax(logits / temperature), in integers.

docs/arithmetic.md, 14, is the specification.
Every backend draws the same numbers from the same seed: Gumbel noise from a table, addressed by two
shift registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.pow2 import (
    DEFAULT_FORMATS,
    NOISE_INDEX_BITS,
    TEMPERATURE_FB,
    TEMPERATURE_MAX,
    gumbel_table,
)
from mmfree.errors import InputError

NOISE_FB = DEFAULT_FORMATS.residual_fb
"""Fraction bits of the noise: those of the logits of models trained here."""

SEED_MAX = (1 << 64) - 1

_WORD_BITS = 2 * NOISE_INDEX_BITS
_WORD_MASK = (1 << _WORD_BITS) - 1
_ENTRIES = 1 << NOISE_INDEX_BITS
_MASK_64, _MASK_63 = (1 << 64) - 1, (1 << 63) - 1
_GUMBEL = gumbel_table().astype(np.int32)


def temperature_code(temperature: float) -> int:
    """A temperature in 64ths, 0..255.

    Raises
    ------
    InputError
        If it is negative, no number, or above 255/64.
    """
    largest = TEMPERATURE_MAX / (1 << TEMPERATURE_FB)
    if not 0 <= temperature <= largest:
        raise InputError(f"--temperature must lie in 0..{largest:.2f}, got {temperature}")
    code = round(temperature * (1 << TEMPERATURE_FB))
    return max(1, code) if temperature else 0


def seed_registers(seed: int) -> tuple[int, int]:
    """The two shift registers (64 and 63 bits, neither 0) of a seed in 0..2^64-1 (SplitMix64)."""
    if not 0 <= seed <= SEED_MAX:
        raise InputError(f"--seed must lie in 0..2^64-1 to sample, got {seed}")
    first, second = (_splitmix(seed + step) for step in (1, 2))
    return first or 1, (second & _MASK_63) or 1


def _splitmix(steps: int) -> int:
    value = steps * 0x9E3779B97F4A7C15 & _MASK_64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK_64
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK_64
    return value ^ value >> 31


class Sampler:
    """Draws rows: one word of the registers for every row, none at temperature 0."""

    def __init__(self, seed: int) -> None:
        self._a, self._b = seed_registers(seed)

    def words(self, count: int) -> NDArray[np.int32]:
        """The next ``count`` words of 20 bits."""
        words = np.empty(count, dtype=np.int32)
        a, b = self._a, self._b
        for index in range(count):
            new = (a >> 44) ^ (a >> 43) ^ (a >> 41) ^ (a >> 40)
            a = (a << _WORD_BITS | new & _WORD_MASK) & _MASK_64
            new = (b >> 43) ^ (b >> 42)
            b = (b << _WORD_BITS | new & _WORD_MASK) & _MASK_63
            words[index] = (a + b) & _WORD_MASK
        self._a, self._b = a, b
        return words

    def noise(self, count: int, temperature: int) -> NDArray[np.int32]:
        """What is added to the next ``count`` logits; ``temperature`` in 64ths, 0..255."""
        words = self.words(count)
        upper, lower = words >> NOISE_INDEX_BITS, words & (_ENTRIES - 1)
        gumbel = _GUMBEL[np.where(upper == _ENTRIES - 1, _ENTRIES + lower, upper)]
        noise: NDArray[np.int32] = (
            gumbel * temperature + (1 << (TEMPERATURE_FB - 1))
        ) >> TEMPERATURE_FB
        return noise

    def choose(
        self,
        logits: NDArray[Any],
        temperature: int,
        fraction_bits: int,
        choosable: NDArray[np.bool_] | None = None,
    ) -> int:
        """Row chosen by the logits of one position; the lowest row wins a tie.

        ``logits`` [rows] stand for logits / 2^fraction_bits nats, and are compared as they are: the
        noise, which has NOISE_FB fraction bits, is scaled to theirs. ``choosable`` [rows]: which of
        them can be chosen, None for all; every row draws its noise.
        """
        if not temperature:
            return _largest(logits, choosable)
        noise = self.noise(len(logits), temperature)
        wide = logits.astype(np.float64) if fraction_bits < NOISE_FB else logits.astype(np.int64)
        scale = 2.0 ** (fraction_bits - NOISE_FB)
        return _largest(wide + (noise * scale).astype(wide.dtype), choosable)


def _largest(logits: NDArray[Any], choosable: NDArray[np.bool_] | None) -> int:
    if choosable is None:
        return int(logits.argmax())
    rows = np.flatnonzero(choosable)
    return int(rows[logits[rows].argmax()])
