"""The golden model of published checkpoints.

Plays a version 2 tape in integers (docs/arithmetic_absmax.md is its specification; NumPy only).

    golden = AbsmaxGolden(AbsmaxTape(path))
    logits = golden.play([1, 450, 7483])        # int32 [T, vocab_size], 16 fraction bits

Sections named here are those of docs/arithmetic_absmax.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import (
    INT32_MAX,
    INT32_MIN,
    PROJECTION_EPS,
    SIGMOID_FB,
    SIGMOID_STEP_FB,
)
from mmfree.golden.cuts import Cut, Wide, apply_gain, cut, largest, quantize
from mmfree.golden.product import TernaryProduct
from mmfree.golden.rounding import Trace, ignore_trace, play_sequence, round_shift
from mmfree.golden.scalars import (
    Scalar,
    add,
    factor,
    multiply,
    reciprocal_root,
    scalar_of_constant,
    scalar_of_float,
    sum_of_squares,
)
from mmfree.tape.absmax import AbsmaxSegment, AbsmaxTape

SATURATION_SITES = ("projection", "residual", "logit")

LARGEST_SHIFT = 62
"""Of a requantization; a shift of 0 stands for all shifts to the left."""


def requantize(acc: Wide, f: Wide, shift: Wide) -> Wide:
    """Section 8: rnd(acc * F, shift), not yet saturated; beyond int32 at a shift of 0 or less."""
    product, shift = acc * f, np.clip(shift, 0, LARGEST_SHIFT)
    return np.where(shift == 0, np.sign(product) << 32, round_shift(product, shift))


def sigmoid(z: Wide, values: Wide, rises: Wide, fraction_bits: int) -> Wide:
    """Section 9: sigmoid, 24 fraction bits, of z with ``fraction_bits``: linear between entries."""
    step = fraction_bits - SIGMOID_STEP_FB
    magnitude = np.abs(z)
    index = np.minimum(magnitude >> step, len(values) - 1)
    y = values[index] + round_shift(rises[index] * (magnitude & ((1 << step) - 1)), step)
    y = np.where(magnitude >= len(values) << step, 1 << SIGMOID_FB, y)
    return np.where(z < 0, (1 << SIGMOID_FB) - y, y)


class _Matrix:
    """A matrix, prepared: trits in memory as int8, gain and constants."""

    def __init__(self, segment: AbsmaxSegment, index: int) -> None:
        matrix = segment.matrices[index]
        self._product = TernaryProduct([matrix.trits()])
        self.gain, self.gain_fb = matrix.gain.values.astype(np.int64), matrix.gain.fraction_bits
        self.constant = scalar_of_constant(matrix.mantissa, matrix.exponent)

    def product(self, q: Wide) -> Wide:
        """T q for q [B, n]; [B, rows]."""
        return self._product(q).astype(np.int64)


class _Player:
    """A segment, prepared."""

    def __init__(self, segment: AbsmaxSegment) -> None:
        self.name = segment.name
        self.offset = scalar_of_constant(*segment.offset)
        self.norm: Wide | None = None
        if segment.norm is not None:
            self.norm = segment.norm.values.astype(np.int64)
            self.norm_fb = segment.norm.fraction_bits
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
        self._sigmoid = (
            tape.array("sigmoid/values").astype(np.int64),
            tape.array("sigmoid/rises").astype(np.int64),
        )
        self._lower_bounds = tape.array("lower_bounds").astype(np.int64)
        self._players = {(s.kind, s.layer): _Player(s) for s in tape.segments}
        self._projection_eps = scalar_of_float(PROJECTION_EPS)
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
            h, w = self.mix(layer, i, z, g, state[layer].astype(np.int64), note)
            new_state[layer] = h
            x = self._add(x, self.output(layer, w, g, note), note, f"layer {layer} output")
            w = self.glu(layer, x, note)
            x = self._add(x, self.down(layer, w, note), note, f"layer {layer} down")
        logits = self.head(x, note)
        note("head/logits", logits)
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
    ) -> tuple[Wide, Cut]:
        """Sections 9 and 10: the new state, and w = g * SiLU(h') with twice ``activation_fb``."""
        formats = self.tape.formats
        bound = self._lower_bounds[layer]
        one = 1 << formats.forget_fb
        share = sigmoid(z, *self._sigmoid, formats.activation_fb)
        f = bound + round_shift((one - bound) * share, SIGMOID_FB)
        c = self._silu(i)
        h = h + round_shift((one - f) * (c - h), formats.forget_fb)
        w = cut(g * self._silu(h))
        _note(note, f"layer {layer} gates", f=f, c=c, h=h, u=w.packed())
        return h, w

    def output(self, layer: int, w: Cut, g: Wide, note: Trace | None = None) -> Wide:
        """What the mixer adds to the residual, [B, d]."""
        player, activation_fb = self._players["output", layer], self.tape.formats.activation_fb
        root = self._root(player, w, 2 * activation_fb, cut(g), activation_fb, note)
        residual_fb = self.tape.formats.residual_fb
        (y,) = self._project(player, w, 2 * activation_fb, root, residual_fb, note)
        return y

    def glu(self, layer: int, x: Wide, note: Trace | None = None) -> Cut:
        """w = up * SiLU(gate) with twice ``activation_fb``, [B, I]."""
        (both,) = self._read_residual(("glu", layer), x, self.tape.formats.activation_fb, note)
        gate, up = np.split(both, 2, axis=-1)
        w = cut(up * self._silu(gate))
        _note(note, f"layer {layer} glu", gate=gate, up=up, u=w.packed())
        return w

    def down(self, layer: int, w: Cut, note: Trace | None = None) -> Wide:
        """What the GLU adds to the residual, [B, d]."""
        player = self._players["down", layer]
        fraction_bits = 2 * self.tape.formats.activation_fb
        squares = sum_of_squares(w, fraction_bits)
        root = reciprocal_root(add(squares, player.offset))
        _note(note, player.name, w=w.packed(), squares=_joined(squares), root=_joined(root))
        residual_fb = self.tape.formats.residual_fb
        (y,) = self._project(player, w, fraction_bits, root, residual_fb, note)
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
        player, w = self._players[segment], cut(x)
        fraction_bits = self.tape.formats.residual_fb
        root = self._root(player, w, fraction_bits, w, fraction_bits, note)
        return self._project(player, w, fraction_bits, root, output_fb, note, site)

    def _root(
        self,
        player: _Player,
        w: Cut,
        fraction_bits: int,
        base: Cut,
        base_fb: int,
        note: Trace | None,
    ) -> tuple[Wide, Wide]:
        """Section 6: 1 / sqrt(sum (w * gain)^2 + 1e-6 * sum base^2 + offset)."""
        assert player.norm is not None
        u = apply_gain(w, player.norm)
        squares = sum_of_squares(u, fraction_bits + player.norm_fb)
        base_squares = sum_of_squares(base, base_fb)
        inner = add(squares, multiply(self._projection_eps, base_squares))
        root = reciprocal_root(add(inner, player.offset))
        _note(
            note,
            player.name,
            w=w.packed(),
            gained=u.packed(),
            squares=_joined(squares),
            base_squares=_joined(base_squares),
            root=_joined(root),
        )
        return root

    def _project(
        self,
        player: _Player,
        w: Cut,
        fraction_bits: int,
        root: tuple[Wide, Wide],
        output_fb: int,
        note: Trace | None,
        site: str = "projection",
    ) -> list[Wide]:
        """Sections 7 and 8: the outputs of a segment's matrices, each [B, rows]."""
        outputs = []
        for index, matrix in enumerate(player.matrices):
            v = apply_gain(w, matrix.gain)
            m = largest(v)
            q = quantize(v, m)
            acc = matrix.product(q)
            f, exponent = factor(matrix.constant, root, m)
            shift = np.clip(fraction_bits + matrix.gain_fb - output_fb - exponent, 0, LARGEST_SHIFT)
            out = self._saturate(site, requantize(acc, f, shift))
            _note(
                note,
                f"{player.name}/{index}",
                v=v.packed(),
                m=m.packed(),
                q=q,
                F=f,
                shift=shift,
                acc=acc,
                out=out,
            )
            outputs.append(out)
        return outputs

    def _silu(self, x: Wide) -> Wide:
        """Section 9: rnd(x * sigmoid(x), 24)."""
        return round_shift(
            x * sigmoid(x, *self._sigmoid, self.tape.formats.activation_fb), SIGMOID_FB
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


def _joined(pair: Scalar | tuple[Wide, Wide]) -> Wide:
    """Mantissa and exponent beside each other."""
    return np.concatenate(pair, axis=-1)


def _note(note: Trace | None, name: str, **values: NDArray[Any]) -> None:
    if note is not None:
        for label, array in values.items():
            note(f"{name}/{label}", array)
