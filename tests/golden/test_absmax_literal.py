"""The golden model of published checkpoints against a slow, literal reading of
docs/arithmetic_absmax.md, one value at a time in Python integers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.contract.absmax import AbsmaxFormats
from mmfree.contract.shape import AbsmaxConfig
from mmfree.golden import product
from mmfree.golden.absmax import AbsmaxGolden
from mmfree.tape.absmax import AbsmaxTape
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.integers.literal import assert_steps_agree

Scalar = tuple[int, int]
"""m * 2^e, m 0 or of 31 bits."""


def rnd(p: int, n: int) -> int:
    if n <= 0:
        return p << -n
    return (p + (1 << (n - 1))) >> n


def top(m: int, e: int, bits: int) -> tuple[int, int]:
    """m * 2^e with the highest ``bits`` bits of m, the rest dropped; 0 is (0, 0)."""
    if not m:
        return 0, 0
    extra = m.bit_length() - bits
    return (m >> extra if extra > 0 else m << -extra), e + extra


Element = tuple[int, int]
"""Sections 3: M * 2^e with a sign on M, M 0 or of 28 bits."""


def cut28(m: int, e: int = 0) -> Element:
    """Section 3, of m * 2^e."""
    magnitude, exponent = top(abs(m), e, 28)
    return (-magnitude if m < 0 else magnitude), exponent


def gained(x: Element, gain: int) -> Element:
    """Section 3: the product with a gain."""
    return cut28(x[0] * gain, x[1])


def packed(x: Element) -> int:
    """As a trace has it: sign, bit length of the magnitude, mantissa."""
    m, e = x
    return (m < 0) << 35 | (e + 28 if m else 0) << 28 | abs(m)


def cut(m: int, e: int) -> Scalar:
    """Section 4."""
    return top(m, e, 31)


def plus(a: Scalar, b: Scalar) -> Scalar:
    if not a[0] or not b[0]:
        return a if a[0] else b
    e = max(a[1], b[1])
    return cut((a[0] >> (e - a[1])) + (b[0] >> (e - b[1])), e)


def times(a: Scalar, b: Scalar) -> Scalar:
    return cut(a[0] * b[0], a[1] + b[1])


def squares(u: list[Element], fb: int) -> Scalar:
    """Section 5: the exact sum over a common exponent, then cut."""
    low = min(e for _, e in u)
    total = sum(((abs(m) + 512) >> 10) ** 2 << 2 * (e - low) for m, e in u)
    return cut(total, 2 * (low + 10 - fb))


def root(s: Scalar) -> tuple[int, int]:
    """Section 6: R and its exponent."""
    m, e = s
    r = 2 if e % 2 == 0 else 1
    quotient = (1 << 62) // (m >> r)
    return math.isqrt(quotient << 14), -38 - (e + r) // 2


def constant(value: float) -> Scalar:
    numerator, denominator = value.as_integer_ratio()
    return cut(numerator, 1 - denominator.bit_length())


EPS = constant(1e-6)


class Literal:
    """Plays a tape by loops over Python's unbounded integers; ``seen``: every intermediate."""

    def __init__(self, tape: AbsmaxTape) -> None:
        self.tape, self.formats = tape, tape.formats
        self.values, self.rises = self.vector("sigmoid/values"), self.vector("sigmoid/rises")
        d, layers = tape.config.hidden_size, tape.config.num_layers
        self.state = [[0] * d for _ in range(layers)]
        self.saturations = {"projection": 0, "residual": 0, "logit": 0}
        self.seen: dict[str, list[int]] = {}

    def vector(self, name: str) -> list[int]:
        return [int(value) for value in self.tape.array(name).ravel()]

    def trits(self, name: str, rows: int, fan_in: int) -> list[list[int]]:
        digits = [code // 3**place % 3 - 1 for code in self.vector(name) for place in range(5)]
        return [digits[row * fan_in : (row + 1) * fan_in] for row in range(rows)]

    def sat(self, site: str, value: int) -> int:
        clamped = max(-(1 << 31), min((1 << 31) - 1, value))
        self.saturations[site] += clamped != value
        return clamped

    def sigmoid(self, z: int) -> int:
        """Section 9."""
        step = self.formats.activation_fb - 8
        a = abs(z)
        y = 1 << 24
        if a < 16 << self.formats.activation_fb:
            j = a >> step
            y = self.values[j] + rnd(self.rises[j] * (a % (1 << step)), step)
        return (1 << 24) - y if z < 0 else y

    def silu(self, x: int) -> int:
        return rnd(x * self.sigmoid(x), 24)

    def offset(self, segment: str) -> Scalar:
        """K of section 6."""
        mantissa, exponent = self.vector(f"{segment}/offset")
        return cut(mantissa, exponent)

    def norm_root(
        self, segment: str, w: list[Element], fb: int, b: list[Element], b_fb: int
    ) -> Any:
        """Section 6, of all but down."""
        u = [gained(*pair) for pair in zip(w, self.vector(f"{segment}/norm"), strict=True)]
        first = squares(u, fb + self.vector(f"{segment}/norm_fb")[0])
        second = squares(b, b_fb)
        found = root(plus(plus(first, times(EPS, second)), self.offset(segment)))
        self.note(
            segment,
            w=[packed(x) for x in w],
            gained=[packed(x) for x in u],
            squares=seen(first),
            base_squares=seen(second),
            root=list(found),
        )
        return found

    def project(
        self,
        segment: str,
        role: str,
        index: int,
        w: list[Element],
        fb: int,
        found: Any,
        out_fb: int,
    ) -> list[int]:
        """Sections 7 and 8."""
        gain_fb, c, e_c = self.vector(f"{segment}/{role}/constants")
        v = [gained(*pair) for pair in zip(w, self.vector(f"{segment}/{role}/gain"), strict=True)]
        m, e_m = max(((e + 28, abs(m)) for m, e in v if m), default=(0, 0))[::-1]
        q = [
            (1 if value > 0 else -1)
            * ((254 * (abs(value) >> (e_m - 28 - e)) + m) // (2 * m) if value else 0)
            for value, e in v
        ]
        rows = self.rows(segment)
        acc = [
            sum(t * value for t, value in zip(row, q, strict=True))
            for row in self.trits(f"{segment}/{role}/trits", rows, len(w))
        ]
        first = times(cut(c, e_c), cut(*found))
        a2, e_2 = times(first, cut(m, e_m - 28))
        f, e_f = a2 >> 7, e_2 + 7
        shift = max(0, min(62, fb + gain_fb - out_fb - e_f)) if f else 62
        site = "logit" if segment == "head" else "projection"
        out = [
            self.sat(site, rnd(value * f, shift) if shift else (value > 0) - (value < 0) << 40)
            for value in acc
        ]
        self.note(
            f"{segment}/{index}",
            v=[packed(x) for x in v],
            m=[e_m << 28 | m],
            q=q,
            F=[f],
            shift=[shift],
            acc=acc,
            out=out,
        )
        return out

    def rows(self, segment: str) -> int:
        config = self.tape.config
        kind = segment.rpartition(" ")[2]
        return {"glu": 2 * config.intermediate_size, "head": config.vocab_size}.get(
            kind, config.hidden_size
        )

    def add(self, name: str, x: list[int], y: list[int]) -> list[int]:
        self.seen[f"{name}/x"] = [self.sat("residual", a + b) for a, b in zip(x, y, strict=True)]
        return self.seen[f"{name}/x"]

    def note(self, name: str, **values: list[int]) -> None:
        self.seen |= {f"{name}/{label}": found for label, found in values.items()}

    def step(self, token: int) -> list[int]:
        """Section 12."""
        fbs, d = self.formats, self.tape.config.hidden_size
        res_fb, act_fb, one = fbs.residual_fb, fbs.activation_fb, 1 << fbs.forget_fb
        scale = self.vector("embedding/scale")[token]
        row = self.vector("embedding/rows")[token * d : (token + 1) * d]
        x = [rnd(value * scale, self.tape.embedding_fb - res_fb) for value in row]
        self.seen = {"embedding": x}
        for layer in range(self.tape.config.num_layers):
            name = f"layer {layer} gates"
            w = [cut28(value) for value in x]
            found = self.norm_root(name, w, res_fb, w, res_fb)
            i, z, g = (
                self.project(name, role, index, w, res_fb, found, act_fb)
                for index, role in enumerate("ifg")
            )
            bounds = self.vector("lower_bounds")[layer * d : (layer + 1) * d]
            f = [
                lb + rnd((one - lb) * self.sigmoid(value), 24)
                for lb, value in zip(bounds, z, strict=True)
            ]
            c = [self.silu(value) for value in i]
            h = [
                old + rnd((one - forget) * (new - old), fbs.forget_fb)
                for forget, new, old in zip(f, c, self.state[layer], strict=True)
            ]
            self.state[layer] = h
            w = [cut28(left * self.silu(right)) for left, right in zip(g, h, strict=True)]
            self.note(name, f=f, c=c, h=h, u=[packed(x) for x in w])

            name = f"layer {layer} output"
            found = self.norm_root(name, w, 2 * act_fb, [cut28(value) for value in g], act_fb)
            x = self.add(name, x, self.project(name, "o", 0, w, 2 * act_fb, found, res_fb))

            name = f"layer {layer} glu"
            w = [cut28(value) for value in x]
            found = self.norm_root(name, w, res_fb, w, res_fb)
            both = self.project(name, "gate_up", 0, w, res_fb, found, act_fb)
            gate, up = both[: len(both) // 2], both[len(both) // 2 :]
            w = [cut28(left * self.silu(right)) for left, right in zip(up, gate, strict=True)]
            self.note(name, gate=gate, up=up, u=[packed(x) for x in w])

            name = f"layer {layer} down"
            total = squares(w, 2 * act_fb)
            found = root(plus(total, self.offset(name)))
            self.note(name, w=[packed(x) for x in w], squares=seen(total), root=list(found))
            x = self.add(name, x, self.project(name, "down", 0, w, 2 * act_fb, found, res_fb))
        w = [cut28(value) for value in x]
        found = self.norm_root("head", w, res_fb, w, res_fb)
        logits = self.project("head", "head", 0, w, res_fb, found, fbs.logit_fb)
        self.note("head", logits=logits)
        return logits


def seen(s: Scalar) -> list[int]:
    """As a trace has it, where the exponent of 0 is below all others."""
    return [s[0], s[1] if s[0] else -(1 << 20)]


NARROW = AbsmaxFormats(residual_fb=12, activation_fb=14, forget_fb=13, logit_fb=10)
LOWEST = AbsmaxFormats(residual_fb=8, activation_fb=8, forget_fb=12, logit_fb=9)


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize(
    ("formats", "embedding_fb", "norm_eps"),
    [(AbsmaxFormats(), 24, 1e-6), (NARROW, 11, 0.5), (LOWEST, 20, 1e-12)],
    ids=["usual", "narrow", "lowest"],
)
def test_golden_equals_the_text_taken_literally(
    formats: AbsmaxFormats,
    embedding_fb: int,
    norm_eps: float,
    wild: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every intermediate of its trace, the state, the logits and the saturations."""
    # Two rows of five weights at a time, of matrices with an odd number of rows.
    monkeypatch.setattr(product, "_KEPT_WEIGHTS", 0)
    monkeypatch.setattr(product, "_BLOCK_WEIGHTS", 11)
    rng = np.random.default_rng(5)
    config = AbsmaxConfig(
        vocab_size=6, hidden_size=5, intermediate_size=7, num_layers=2, norm_eps=norm_eps
    )
    tape = random_absmax_tape(
        tmp_path, config, 5, wild=wild, embedding_fb=embedding_fb, formats=formats
    )
    golden, literal = AbsmaxGolden(tape), Literal(tape)
    assert_steps_agree(golden, literal, rng.integers(0, 6, 12))
    if wild:
        assert all(literal.saturations.values())
