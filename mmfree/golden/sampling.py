"""Choice of the next token: greedy, or drawn from softmax(logits / temperature), in integers.

docs/arithmetic.md, 14, is the specification. ``likeliest_rows`` limits what is drawn from.
Every backend draws the same numbers from the same seed: Gumbel noise from a table, addressed by two
shift registers.
"""

from __future__ import annotations

import math
import operator
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

TOP_P_FB = 16
"""Fraction bits of a share of the probability (``top_p``)."""

_STEPS = 64
"""Steps of a nat in the table of weights."""

_WEIGHT_FB = 24
_WEIGHTS = np.array(
    [
        math.floor(2.0**_WEIGHT_FB * math.exp(-step / _STEPS) + 0.5)
        for step in range(math.ceil((_WEIGHT_FB + 1) * math.log(2) * _STEPS) + 1)
    ]
)
"""exp(-x) for x = 0, 1/64, 2/64 ... nats, 24 fraction bits; the last is 0."""

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


def top_p_code(top_p: float) -> int:
    """A share of the probability in 65,536ths, 1..65536.

    Raises
    ------
    InputError
        If it is 0, negative, no number, or above 1.
    """
    if not 0 < top_p <= 1:
        raise InputError(f"--top-p must lie above 0 and be at most 1, got {top_p}")
    return max(1, round(top_p * (1 << TOP_P_FB)))


def likeliest_rows(
    logits: NDArray[Any],
    temperature: int,
    fraction_bits: int,
    choosable: NDArray[np.bool_] | None = None,
    *,
    top_k: int | None = None,
    top_p: int | None = None,
) -> NDArray[np.bool_] | None:
    """Rows that may be drawn, [rows], for ``Sampler.choose``; None: all of them.

    Of the choosable ones the ``top_k`` likeliest; of these the fewest likeliest whose
    probabilities, among them and at ``temperature`` (in 64ths, not 0), reach ``top_p`` (in
    65,536ths). Of equal logits the lowest row is the likelier. Equal logits give equal rows on
    every machine: probabilities are sums of integers from a table of exp with 64 steps a nat, in
    which what is 17 nats below the largest has none.
    """
    all_of_it = top_p is None or top_p >= 1 << TOP_P_FB
    if top_k is None and all_of_it:
        return choosable
    rows = np.arange(len(logits)) if choosable is None else np.flatnonzero(choosable)
    values = logits[rows].astype(np.float64)
    order = np.argsort(-values, kind="stable")[:top_k]
    if top_p is not None and not all_of_it:
        # Exact where it counts: a float has room for each of these numbers.
        below = (values[order[0]] - values[order]) * (_STEPS << TEMPERATURE_FB)
        steps = below // (temperature * 2.0**fraction_bits)
        weights = _WEIGHTS[np.minimum(steps, len(_WEIGHTS) - 1).astype(np.int64)]
        share = top_p * int(weights.sum())
        order = order[np.cumsum(weights) - weights < -(-share >> TOP_P_FB)]
    chosen = np.zeros(len(logits), dtype=bool)
    chosen[rows[order]] = True
    return chosen


def seed_registers(seed: int) -> tuple[int, int]:
    """The two shift registers (64 and 63 bits, neither 0) of a seed in 0..2^64-1 (SplitMix64)."""
    seed = operator.index(seed)  # NumPy's integers have no room for the products
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
