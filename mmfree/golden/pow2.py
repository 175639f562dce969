"""The golden model: plays a tape in integers (docs/arithmetic.md is its specification; NumPy only).

golden = Golden(open_pow2_tape(path))
logits = golden.play([30, 4, 17])           # int16 [T, head_size], 9 fraction bits
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.pow2 import (
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    NORM_EXPONENT_MIN,
    ROLES,
    SATURATION_SITES,
    Formats,
    reciprocal_root_table,
)
from mmfree.golden.product import TernaryProduct
from mmfree.golden.rounding import Trace, ignore_trace, play_sequence, round_shift
from mmfree.tape.pow2 import Segment, Tape

Ints = NDArray[np.int32]

_RECIPROCAL_ROOT = reciprocal_root_table().astype(np.int32)


def quantize(u: Ints) -> tuple[Ints, Ints]:
    """Section 5: int16 values [..., n] to those not yet saturated to int8, and 15 - b [..., 1]."""
    folded = np.bitwise_or.reduce(u ^ (u >> 15), axis=-1, keepdims=True)
    shift = 15 - _bit_length(folded)
    return ((u << shift) + 128) >> 8, shift


def rms_norm(s: Ints) -> tuple[Ints, Ints]:
    """Section 6: sums of squares to (R, k)."""
    s = np.where(s == 0, 4096, s)
    k = np.maximum((_bit_length(s) - 1) >> 1, NORM_EXPONENT_MIN)
    return _RECIPROCAL_ROOT[s >> (2 * k - 6)], k


def scale(r: Ints, multiplier: int | Ints) -> Ints:
    """Section 6: M of a matrix."""
    return (r * multiplier + 64) >> 7


def ternary_product(trits: NDArray[np.int8], q: Ints) -> Ints:
    """Section 7: T q for q [..., n], by int64 sums; the specification of the fast product."""
    return (q.astype(np.int64) @ trits.T.astype(np.int64)).astype(np.int32)


def requantize(acc: Ints, m: Ints, shift: Ints | int) -> NDArray[np.int64]:
    """Section 7: rnd(acc * M, e + k), not yet saturated."""
    return round_shift(acc.astype(np.int64) * m, shift)


def forget_gate(z: Ints, gate: str, sigmoid: Ints, formats: Formats) -> Ints:
    """Section 9: f of z + bias.

    For "sigmoid" saturated to int8 already, as an index into the table.
    """
    if gate == "sigmoid":
        return sigmoid[z + 128]
    one = 1 << formats.forget_fb
    if gate == "signed":
        return np.clip(z, -one, one)
    return np.clip(z + one // 2, 0, one)


def update_state(f: Ints, c: Ints, h: Ints, formats: Formats) -> Ints:
    """Section 10: h'."""
    start = np.where(f < 0, -h, h)
    load = (1 << formats.forget_fb) - np.abs(f)
    return start + round_shift(load * (c - start), formats.forget_fb)


def gated_product(operand: Ints, silu: Ints, formats: Formats) -> Ints:
    """Sections 11 and 12: rnd(operand * silu, 6), not yet saturated."""
    return round_shift(operand * silu, formats.index_fb + formats.state_fb - formats.residual_fb)


def shift_tokens(x: Ints, before: NDArray[np.int16]) -> Ints:
    """Section 19: x [B, d] with its first channels from the position before.

    ``before`` [B, s] holds them, and holds those of this position from then on.
    """
    channels = before.shape[-1]
    shifted = x.copy()
    shifted[:, :channels] = before
    before[:] = x[:, :channels]
    return shifted


def _bit_length(x: Ints) -> Ints:
    """Bit length of integers 0 <= x < 2^53: the exponent of an exact float64."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int32)


class _Player:
    """A segment, prepared: the product of all its rows, and the constants row by row."""

    def __init__(self, segment: Segment, tape: Tape) -> None:
        matrices = segment.matrices
        self.segment = segment
        self.product = TernaryProduct([m.trits for m in matrices])
        self.multipliers = np.concatenate([np.full(m.rows, m.multiplier) for m in matrices])
        self.multipliers = self.multipliers.astype(np.int32)
        gate = tape.config.gate
        bases = [ROLES[m.role].shift_base(m.exponent, gate, tape.formats) for m in matrices]
        self.bases = np.repeat(bases, [m.rows for m in matrices]).astype(np.int32)
        wide = np.repeat(
            [ROLES[m.role].width_bits == 16 for m in matrices], [m.rows for m in matrices]
        )
        self.low = np.where(wide, INT16_MIN, INT8_MIN)
        self.high = np.where(wide, INT16_MAX, INT8_MAX)
        rows = np.cumsum([m.rows for m in matrices])[:-1]
        self.splits = [int(row) for row in rows]
        self.bias = next((m.bias.astype(np.int32) for m in matrices if m.bias is not None), None)


class Golden:
    """Plays a tape for B independent sequences at a time.

    ``saturations`` counts clamped values by site (section 16) since the last ``reset_counters``.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._sigmoid = tape.sigmoid.astype(np.int32)
        self._silu = tape.silu.astype(np.int32)
        config = tape.config
        self._parts = [config.token_shift, config.token_shift + config.hidden_size]
        self._players = [_Player(segment, tape) for segment in tape.segments]
        self.saturations: dict[str, int] = {}
        self.reset_counters()

    @property
    def fraction_bits(self) -> int:
        """Fraction bits of the logits."""
        return self.tape.formats.residual_fb

    def reset_counters(self) -> None:
        """Set every saturation counter to 0."""
        self.saturations = dict.fromkeys(SATURATION_SITES, 0)

    def state(self, batch: int = 1) -> NDArray[np.int16]:
        """State at the start of a sequence: zeros, int16 [L, batch, w].

        Of a layer: x as the gates read it before (s words, of a token shift), h (d), x as the GLU
        did (s).
        """
        config = self.tape.config
        return np.zeros((config.num_layers, batch, config.state_width), dtype=np.int16)

    def step(
        self, tokens: NDArray[np.integer], state: NDArray[np.int16], trace: Trace | None = None
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Play one token of each of B sequences (section 15).

        Parameters
        ----------
        tokens
            Ids, [B].
        state
            int16 [L, B, w]; not modified.
        trace
            Called with the name and the values [B, n] of every intermediate, in order.

        Returns
        -------
        logits, state
            int16 [B, head_size] with 9 fraction bits, and the new state.
        """
        note: Trace = trace if trace is not None else ignore_trace
        new_state = state.copy()
        x = self.tape.embedding[tokens].astype(np.int32) << self.tape.embedding_shift
        note("embedding", x)
        u = x
        for player in self._players:
            segment = player.segment
            if segment.kind == "head":
                (logits,) = self._project(player, x, note)
                note(f"{segment.name}/logits", logits)
                return logits.astype(np.int16), new_state
            read_by_gates, h, read_by_glu = np.split(new_state[segment.layer], self._parts, axis=-1)
            if segment.kind == "gates":
                outputs = self._project(player, shift_tokens(x, read_by_gates), note)
                u, h[:] = self._mix(player, outputs, h.astype(np.int32), note)
            elif segment.kind == "glu":
                outputs = self._project(player, shift_tokens(x, read_by_glu), note)
                u = self._glu(player, outputs, note)
            else:
                (y,) = self._project(player, u, note)
                note(f"{segment.name}/y", y)
                x = self._saturate("residual", x + y, INT16_MIN, INT16_MAX)
                note(f"{segment.name}/x", x)
        raise AssertionError("a tape ends with its head")

    def play(
        self, tokens: Sequence[int] | NDArray[np.integer], state: NDArray[np.int16] | None = None
    ) -> NDArray[np.int16]:
        """Logits of every position of one sequence, int16 [T, head_size]."""
        return play_sequence(self, tokens, state)

    @staticmethod
    def next_token(logits: NDArray[np.int16]) -> NDArray[np.intp]:
        """Section 14 at temperature 0: row of the largest logit, the lowest of equals.

        [..., head_size] -> [...].
        """
        return logits.argmax(axis=-1)

    def _saturate(
        self, site: str, values: NDArray[np.integer], low: int | Ints, high: int | Ints
    ) -> Ints:
        clamped = np.clip(values, low, high)
        self.saturations[site] += int(np.count_nonzero(clamped != values))
        return clamped.astype(np.int32)

    def _project(self, player: _Player, u: Ints, note: Trace) -> list[Ints]:
        """Sections 5 to 7: the outputs of a segment's matrices, each [B, rows]."""
        name = player.segment.name
        rounded, _ = quantize(u)
        q = self._saturate("quantizer", rounded, INT8_MIN, INT8_MAX)
        s = (q * q).sum(axis=-1, keepdims=True, dtype=np.int32)
        r, k = rms_norm(s)
        m = scale(r, player.multipliers)
        acc = player.product(q).astype(np.int32)
        values = requantize(acc, m, player.bases + k)
        site = "logit" if player.segment.kind == "head" else "projection"
        outputs = self._saturate(site, values, player.low, player.high)
        for label, intermediate in (("q", q), ("S", s), ("R", r), ("k", k), ("M", m), ("acc", acc)):
            note(f"{name}/{label}", intermediate)
        return np.split(outputs, player.splits, axis=-1)

    def _mix(self, player: _Player, outputs: list[Ints], h: Ints, note: Trace) -> tuple[Ints, Ints]:
        """Sections 9 to 11: (u, h')."""
        name, formats = player.segment.name, self.tape.formats
        i, z, g = outputs
        assert player.bias is not None
        z = z + player.bias
        gate = self.tape.config.gate
        if gate == "sigmoid":
            z = self._saturate("gate", z, INT8_MIN, INT8_MAX)
        f = forget_gate(z, gate, self._sigmoid, formats)
        c = self._silu[i + 128]
        h = update_state(f, c, h, formats)
        index = round_shift(h, formats.state_fb - formats.index_fb)
        squashed = self._silu[self._saturate("state", index, INT8_MIN, INT8_MAX) + 128]
        u = self._gated_product(g, squashed)
        for label, values in (("i", i), ("z", z), ("g", g), ("f", f), ("c", c), ("h", h), ("u", u)):
            note(f"{name}/{label}", values)
        return u, h

    def _glu(self, player: _Player, outputs: list[Ints], note: Trace) -> Ints:
        """Section 12."""
        gate, up = outputs
        silu = self._silu[gate + 128]
        u = self._gated_product(up, silu)
        for label, values in (("gate", gate), ("up", up), ("silu", silu), ("u", u)):
            note(f"{player.segment.name}/{label}", values)
        return u

    def _gated_product(self, operand: Ints, silu: Ints) -> Ints:
        """Sections 11 and 12: sat_16(rnd(operand * silu, 6))."""
        product = gated_product(operand, silu, self.tape.formats)
        return self._saturate("product", product, INT16_MIN, INT16_MAX)
