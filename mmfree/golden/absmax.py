"""The golden model of published checkpoints.

Plays a version 2 tape in integers (docs/arithmetic_absmax.md is its specification; NumPy only).

    golden = AbsmaxGolden(AbsmaxTape(path))
    logits = golden.play([1, 450, 7483])        # int32 [T, vocab_size], 16 fraction bits

Sections named here are those of docs/arithmetic_absmax.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import (
    CONSTANT_BITS,
    INT32_MAX,
    INT32_MIN,
    PROJECTION_EPS,
    SIGMOID_FB,
    SIGMOID_STEP_FB,
)
from mmfree.golden.product import TernaryProduct
from mmfree.golden.rounding import Trace, ignore_trace, play_sequence, round_shift
from mmfree.tape.absmax import AbsmaxSegment, AbsmaxTape, Gain

Wide = NDArray[np.int64]

SATURATION_SITES = ("projection", "residual", "logit")

_SQUARE_BITS, _PRODUCT_BITS, _FACTOR_BITS, _SCALAR_BITS = 18, 30, 24, 31


class Scalar(NamedTuple):
    """A positive number mantissa * 2^exponent with a mantissa of 31 bits (section 4).

    Arrays of one shape. Mantissa 0: zero.
    """

    mantissa: Wide
    exponent: Wide


def bit_length(x: Wide) -> Wide:
    """Bit length of integers 0 <= x < 2^63."""
    high = x >> 31
    part = np.where(high > 0, high, x)
    return np.frexp(part.astype(np.float64))[1].astype(np.int64) + np.where(high > 0, 31, 0)


def largest_magnitude(values: Wide) -> Wide:
    """max |values| along the last axis, kept as an axis."""
    return np.abs(values).max(axis=-1, keepdims=True)


def fit(values: Wide, bits: int) -> tuple[Wide, Wide]:
    """Section 3: (rnd(values, t), t), t >= 0 the smallest with max |values| < 2^bits."""
    shift = np.maximum(bit_length(largest_magnitude(values)) - bits, 0)
    return round_shift(values, shift), shift


def scalar(value: Wide, exponent: Wide | int) -> Scalar:
    """Section 4: value * 2^exponent, the mantissa cut to 31 bits."""
    length = bit_length(value)
    right, left = np.maximum(length - _SCALAR_BITS, 0), np.maximum(_SCALAR_BITS - length, 0)
    mantissa = (value >> right) << np.where(value == 0, 0, left)
    return Scalar(mantissa, np.where(value == 0, -(1 << 20), exponent + length - _SCALAR_BITS))


def scalar_constant(value: float) -> Scalar:
    """Section 4: a positive constant, the mantissa cut to 31 bits."""
    mantissa, exponent = math.frexp(value)
    whole = math.floor(mantissa * 2**_SCALAR_BITS)
    return Scalar(
        np.array(whole, dtype=np.int64), np.array(exponent - _SCALAR_BITS, dtype=np.int64)
    )


def add(a: Scalar, b: Scalar) -> Scalar:
    """Section 4: the sum; the smaller one is cut to the larger one's last bit."""
    exponent = np.maximum(a.exponent, b.exponent)
    parts = [s.mantissa >> np.minimum(exponent - s.exponent, 62) for s in (a, b)]
    return scalar(parts[0] + parts[1], exponent)


def multiply(a: Scalar, b: Scalar) -> Scalar:
    """Section 4: the product."""
    return scalar(a.mantissa * b.mantissa, a.exponent + b.exponent)


def sum_of_squares(values: Wide, fraction_bits: Wide | int) -> Scalar:
    """Section 5: sum of squares of values * 2^-fraction_bits along the last axis."""
    fitted, shift = fit(values, _SQUARE_BITS)
    total = (fitted * fitted).sum(axis=-1, keepdims=True)
    return scalar(total, 2 * (shift - fraction_bits))


def reciprocal_root(s: Scalar) -> tuple[Wide, Wide]:
    """Section 6: (R, e) with R * 2^e = 1 / sqrt(s); R in 2^23..2^24."""
    drop = 1 + (s.exponent + 1) % 2
    quotient = (1 << 62) // (s.mantissa >> drop)
    # The radicand stays below 2^49, where a float64 root is exact when floored.
    root = np.floor(np.sqrt((quotient << 14).astype(np.float64))).astype(np.int64)
    return root, -38 - (s.exponent + drop) // 2


def quantize(v: Wide) -> tuple[NDArray[np.int64], Wide]:
    """Section 7: q = 127 v / m, halves away from zero, [..., n], and m = max |v|, [..., 1]."""
    m = largest_magnitude(v)
    magnitude = (254 * np.abs(v) + m) // np.maximum(2 * m, 1)
    return np.where(v < 0, -magnitude, magnitude), m


def factor(root: Wide, mantissa: int, m: Wide) -> tuple[Wide, Wide]:
    """Section 8: (F, e): mantissa * root * m = F * 2^e with F in 2^23..2^24, or 0 where m is."""
    m, m_shift = fit(m, CONSTANT_BITS)
    product = round_shift(mantissa * root, CONSTANT_BITS - 1) * m
    result, shift = fit(product, _FACTOR_BITS)
    return result, shift + m_shift + CONSTANT_BITS - 1


def requantize(acc: Wide, f: Wide, shift: Wide) -> Wide:
    """Section 8: rnd(acc * F, shift), not yet saturated; a shift below -8 saturates as -8 does."""
    shift = np.clip(shift, -8, 62)
    return round_shift((acc * f) << np.maximum(-shift, 0), np.maximum(shift, 0))


def sigmoid(z: Wide, table: Wide, fraction_bits: int) -> Wide:
    """Section 9: sigmoid, 24 fraction bits, of z with ``fraction_bits``: linear between entries."""
    step = fraction_bits - SIGMOID_STEP_FB
    magnitude = np.abs(z)
    index = np.minimum(magnitude >> step, len(table) - 2)
    rise = (table[index + 1] - table[index]) * (magnitude & ((1 << step) - 1))
    value = table[index] + round_shift(rise, step)
    value = np.where(magnitude >= (len(table) - 1) << step, 1 << SIGMOID_FB, value)
    return np.where(z < 0, (1 << SIGMOID_FB) - value, value)


class _Matrix:
    """A matrix, prepared: trits in memory as int8, gain and constants."""

    def __init__(self, segment: AbsmaxSegment, index: int) -> None:
        matrix = segment.matrices[index]
        self._product = TernaryProduct([matrix.trits()])
        self.gain, self.gain_fb = matrix.gain.values.astype(np.int64), matrix.gain.fraction_bits
        self.mantissa, self.exponent = matrix.mantissa, matrix.exponent

    def product(self, q: Wide) -> Wide:
        """T q for q [B, n]; [B, rows]."""
        return self._product(q).astype(np.int64)


class _Player:
    """A segment, prepared."""

    def __init__(self, segment: AbsmaxSegment) -> None:
        self.name, self.norm = segment.name, segment.norm
        self.matrices = [_Matrix(segment, index) for index in range(len(segment.matrices))]


class AbsmaxGolden:
    """Plays a version 2 tape for B independent sequences at a time.

    All weights are decoded when it is made, one byte each. ``saturations`` counts clamped values by
    site since the last ``reset_counters``.
    """

    def __init__(self, tape: AbsmaxTape) -> None:
        self.tape = tape
        self._embedding: NDArray[np.int8] = tape.array("embedding/rows")
        self._embedding_scale = tape.array("embedding/scale").astype(np.int64)
        self._sigmoid = tape.array("sigmoid").astype(np.int64)
        self._lower_bounds = tape.array("lower_bounds").astype(np.int64)
        self._players = {(s.kind, s.layer): _Player(s) for s in tape.segments}
        self._norm_eps = tape.config.norm_eps
        self._projection_eps = scalar_constant(PROJECTION_EPS)
        self.saturations: dict[str, int] = {}
        self.reset_counters()

    @property
    def fraction_bits(self) -> int:
        """Fraction bits of the logits."""
        return self.tape.formats.logit_fb

    def reset_counters(self) -> None:
        """Set every saturation counter to 0."""
        self.saturations = dict.fromkeys(SATURATION_SITES, 0)

    def state(self, batch: int = 1) -> NDArray[np.int32]:
        """State at the start of a sequence: zeros, int32 [L, batch, d]."""
        config = self.tape.config
        return np.zeros((config.num_layers, batch, config.hidden_size), dtype=np.int32)

    def step(
        self, tokens: NDArray[np.integer], state: NDArray[np.int32], trace: Trace | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Play one token of each of B sequences (section 12).

        Parameters
        ----------
        tokens
            Ids, [B].
        state
            int32 [L, B, d]; not modified.
        trace
            Called with the name and the values [B, n] of every intermediate, in order.

        Returns
        -------
        logits, state
            int32 [B, vocab_size] with ``fraction_bits``, and the new state.
        """
        note: Trace = trace if trace is not None else ignore_trace
        new_state = state.copy()
        x = self.embed(tokens)
        note("embedding", x)
        for layer in range(self.tape.config.num_layers):
            i, z, g = self.gates(layer, x, note)
            h, a = self.mix(layer, i, z, g, state[layer].astype(np.int64), note)
            new_state[layer] = h
            x = self._add(x, self.output(layer, a, g, note), note, f"layer {layer} output")
            u = self.glu(layer, x, note)
            x = self._add(x, self.down(layer, u, note), note, f"layer {layer} down")
        logits = self.head(x, note)
        return logits.astype(np.int32), new_state

    def play(
        self, tokens: Sequence[int] | NDArray[np.integer], state: NDArray[np.int32] | None = None
    ) -> NDArray[np.int32]:
        """Logits of every position of one sequence, int32 [T, vocab_size]."""
        return play_sequence(self, tokens, state)

    def embed(self, tokens: NDArray[np.integer]) -> Wide:
        """Section 2: the residual of token ids, [B, d]."""
        product = self._embedding[tokens].astype(np.int64) * self._embedding_scale[tokens][:, None]
        shift = self.tape.embedding_fb - self.tape.formats.residual_fb
        return round_shift(product, shift) if shift >= 0 else product << -shift

    def gates(self, layer: int, x: Wide, note: Trace | None = None) -> tuple[Wide, Wide, Wide]:
        """(i, z, g) of a residual, [B, d] each with ``activation_fb``."""
        i, z, g = self._read_residual(("gates", layer), x, self.tape.formats.activation_fb, note)
        return i, z, g

    def mix(
        self, layer: int, i: Wide, z: Wide, g: Wide, h: Wide, note: Trace | None = None
    ) -> tuple[Wide, Wide]:
        """Sections 9 and 10: the new state, and a = g * SiLU(h') with twice ``activation_fb``."""
        formats = self.tape.formats
        bound = self._lower_bounds[layer]
        one = 1 << formats.forget_fb
        share = sigmoid(z, self._sigmoid, formats.activation_fb)
        f = round_shift((bound << SIGMOID_FB) + (one - bound) * share, SIGMOID_FB)
        c = self._silu(i)
        h = h + round_shift((one - f) * (c - h), formats.forget_fb)
        a = g * self._silu(h)
        _note(note, f"layer {layer} gates", f=f, c=c, h=h, a=a)
        return h, a

    def output(self, layer: int, a: Wide, g: Wide, note: Trace | None = None) -> Wide:
        """What the mixer adds to the residual, [B, d]."""
        player = self._players["output", layer]
        activation_fb = self.tape.formats.activation_fb
        values, shift = fit(a, _PRODUCT_BITS)
        fraction_bits = 2 * activation_fb - shift
        root = self._root(player, values, fraction_bits, g, activation_fb)
        (y,) = self._project(
            player, values, fraction_bits, root, self.tape.formats.residual_fb, note
        )
        return y

    def glu(self, layer: int, x: Wide, note: Trace | None = None) -> Wide:
        """u = up * SiLU(gate) with twice ``activation_fb``, [B, I]."""
        (both,) = self._read_residual(("glu", layer), x, self.tape.formats.activation_fb, note)
        gate, up = np.split(both, 2, axis=-1)
        u = up * self._silu(gate)
        _note(note, f"layer {layer} glu", gate=gate, up=up, u=u)
        return u

    def down(self, layer: int, u: Wide, note: Trace | None = None) -> Wide:
        """What the GLU adds to the residual, [B, d]."""
        player = self._players["down", layer]
        values, shift = fit(u, _PRODUCT_BITS)
        fraction_bits = 2 * self.tape.formats.activation_fb - shift
        offset = scalar_constant(values.shape[-1] * PROJECTION_EPS)
        root = reciprocal_root(add(sum_of_squares(values, fraction_bits), offset))
        (y,) = self._project(
            player, values, fraction_bits, root, self.tape.formats.residual_fb, note
        )
        return y

    def head(self, x: Wide, note: Trace | None = None) -> Wide:
        """Logits of a residual, [B, vocab_size]."""
        (logits,) = self._read_residual(
            ("head", None), x, self.tape.formats.logit_fb, note, "logit"
        )
        return logits

    def _read_residual(
        self,
        segment: tuple[str, int | None],
        x: Wide,
        output_fb: int,
        note: Trace | None,
        site: str = "projection",
    ) -> list[Wide]:
        player = self._players[segment]
        fraction_bits = self.tape.formats.residual_fb
        root = self._root(player, x, fraction_bits, x, fraction_bits)
        return self._project(player, x, fraction_bits, root, output_fb, note, site)

    def _root(
        self, player: _Player, values: Wide, fraction_bits: Wide | int, base: Wide, base_fb: int
    ) -> tuple[Wide, Wide]:
        """Section 6: 1 / sqrt(sum (values * gain)^2 + eps * (sum base^2 + n * norm_eps))."""
        norm: Gain | None = player.norm
        assert norm is not None
        gained = sum_of_squares(
            values * norm.values.astype(np.int64), fraction_bits + norm.fraction_bits
        )
        offset = scalar_constant(values.shape[-1] * self._norm_eps)
        return reciprocal_root(
            add(gained, multiply(self._projection_eps, add(sum_of_squares(base, base_fb), offset)))
        )

    def _project(
        self,
        player: _Player,
        values: Wide,
        fraction_bits: Wide | int,
        root: tuple[Wide, Wide],
        output_fb: int,
        note: Trace | None,
        site: str = "projection",
    ) -> list[Wide]:
        """Sections 7 and 8: the outputs of a segment's matrices, each [B, rows]."""
        outputs = []
        for index, matrix in enumerate(player.matrices):
            q, m = quantize(values * matrix.gain)
            acc = matrix.product(q)
            f, exponent = factor(root[0], matrix.mantissa, m)
            exponent = exponent + root[1] + matrix.exponent
            shift = fraction_bits + matrix.gain_fb - output_fb - exponent
            out = self._saturate(site, requantize(acc, f, shift))
            _note(note, f"{player.name}/{index}", q=q, m=m, F=f, shift=shift, acc=acc, out=out)
            outputs.append(out)
        return outputs

    def _silu(self, x: Wide) -> Wide:
        """Section 9: rnd(x * sigmoid(x), 24)."""
        return round_shift(
            x * sigmoid(x, self._sigmoid, self.tape.formats.activation_fb), SIGMOID_FB
        )

    def _add(self, x: Wide, y: Wide, note: Trace, name: str) -> Wide:
        """Section 11: the residual."""
        x = self._saturate("residual", x + y)
        note(f"{name}/x", x)
        return x

    def _saturate(self, site: str, values: Wide) -> Wide:
        clamped = np.clip(values, INT32_MIN, INT32_MAX)
        self.saturations[site] += int(np.count_nonzero(clamped != values))
        return clamped


def _note(note: Trace | None, name: str, **values: NDArray[Any]) -> None:
    if note is not None:
        for label, array in values.items():
            note(f"{name}/{label}", array)
