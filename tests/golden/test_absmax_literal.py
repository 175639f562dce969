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
from mmfree.tape.absmax import AbsmaxTape, tape_fields
from mmfree.tape.trits import pack_trits
from tests.support.integers.absmax_tapes import absmax_tape
from tests.support.integers.literal import assert_steps_agree

Scalar = tuple[int, int]
"""m * 2^e, m 0 or of 31 bits."""


def rnd(p: int, n: int) -> int:
    if n <= 0:
        return p << -n
    return (p + (1 << (n - 1))) >> n


def fit(u: list[int], bits: int) -> tuple[list[int], int]:
    """Section 3."""
    t = max(0, max(map(abs, u)).bit_length() - bits)
    return [rnd(value, t) for value in u], t


def cut(m: int, e: int) -> Scalar:
    """Section 4."""
    if not m:
        return 0, 0
    extra = m.bit_length() - 31
    return (m >> extra if extra > 0 else m << -extra), e + extra


def constant(value: float) -> Scalar:
    numerator, denominator = value.as_integer_ratio()
    return cut(numerator, 1 - denominator.bit_length())


def plus(a: Scalar, b: Scalar) -> Scalar:
    if not a[0] or not b[0]:
        return a if a[0] else b
    e = max(a[1], b[1])
    return cut((a[0] >> (e - a[1])) + (b[0] >> (e - b[1])), e)


def times(a: Scalar, b: Scalar) -> Scalar:
    return cut(a[0] * b[0], a[1] + b[1])


def squares(u: list[int], fb: int) -> Scalar:
    """Section 5."""
    fitted, t = fit(u, 18)
    return cut(sum(value * value for value in fitted), 2 * (t - fb))


def root(s: Scalar) -> tuple[int, int]:
    """Section 6: R and its exponent."""
    m, e = s
    r = 2 if e % 2 == 0 else 1
    quotient = (1 << 62) // (m >> r)
    return math.isqrt(quotient << 14), -38 - (e + r) // 2


class Literal:
    """Plays a tape by loops over Python's unbounded integers; ``seen``: every intermediate."""

    def __init__(self, tape: AbsmaxTape) -> None:
        self.tape, self.formats, self.eps = tape, tape.formats, tape.config.norm_eps
        self.table = [int(v) for v in tape.array("sigmoid")]
        d, layers = tape.config.hidden_size, tape.config.num_layers
        self.h = [[0] * d for _ in range(layers)]
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
            low, high = self.table[a >> step], self.table[(a >> step) + 1]
            y = low + rnd((high - low) * (a % (1 << step)), step)
        return (1 << 24) - y if z < 0 else y

    def silu(self, x: int) -> int:
        return rnd(x * self.sigmoid(x), 24)

    def norm_root(self, segment: str, w: list[int], fb: int, b: list[int], b_fb: int) -> Any:
        """Section 6, of all but down."""
        gained = [a * g for a, g in zip(w, self.vector(f"{segment}/norm"), strict=True)]
        first = squares(gained, fb + self.vector(f"{segment}/norm_fb")[0])
        inner = plus(squares(b, b_fb), constant(len(w) * self.eps))
        return root(plus(first, times(constant(1e-6), inner)))

    def project(
        self, segment: str, role: str, index: int, w: list[int], fb: int, found: Any, out_fb: int
    ) -> list[int]:
        """Sections 7 and 8."""
        gain_fb, c, e_c = self.vector(f"{segment}/{role}/constants")
        v = [a * g for a, g in zip(w, self.vector(f"{segment}/{role}/gain"), strict=True)]
        m = max(map(abs, v))
        q = [
            (1 if value > 0 else -1) * ((254 * abs(value) + m) // (2 * m)) if m else 0
            for value in v
        ]
        rows = self.rows(segment)
        acc = [
            sum(t * value for t, value in zip(row, q, strict=True))
            for row in self.trits(f"{segment}/{role}/trits", rows, len(w))
        ]
        r, e_r = found
        (cut_m,), t = fit([m], 24)
        (f,), u = fit([rnd(c * r, 23) * cut_m], 24)
        shift = fb + gain_fb - out_fb - (e_c + e_r + u + t + 23)
        site = "logit" if segment == "head" else "projection"
        out = [self.sat(site, rnd(value * f, max(-8, min(62, shift)))) for value in acc]
        for label, values in (
            *(("q", q), ("m", [m]), ("F", [f]), ("shift", [shift]), ("acc", acc), ("out", out)),
        ):
            self.seen[f"{segment}/{index}/{label}"] = values
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
            found = self.norm_root(name, x, res_fb, x, res_fb)
            i, z, g = (
                self.project(name, role, index, x, res_fb, found, act_fb)
                for index, role in enumerate("ifg")
            )
            bounds = self.vector("lower_bounds")[layer * d : (layer + 1) * d]
            f = [
                rnd((lb << 24) + (one - lb) * self.sigmoid(value), 24)
                for lb, value in zip(bounds, z, strict=True)
            ]
            c = [self.silu(value) for value in i]
            h = [
                old + rnd((one - forget) * (new - old), fbs.forget_fb)
                for forget, new, old in zip(f, c, self.h[layer], strict=True)
            ]
            self.h[layer] = h
            a = [left * self.silu(right) for left, right in zip(g, h, strict=True)]
            self.note(name, f=f, c=c, h=h, a=a)

            name = f"layer {layer} output"
            w, t = fit(a, 30)
            found = self.norm_root(name, w, 2 * act_fb - t, g, act_fb)
            x = self.add(name, x, self.project(name, "o", 0, w, 2 * act_fb - t, found, res_fb))

            name = f"layer {layer} glu"
            found = self.norm_root(name, x, res_fb, x, res_fb)
            both = self.project(name, "gate_up", 0, x, res_fb, found, act_fb)
            gate, up = both[: len(both) // 2], both[len(both) // 2 :]
            a = [left * self.silu(right) for left, right in zip(up, gate, strict=True)]
            self.note(name, gate=gate, up=up, u=a)

            name = f"layer {layer} down"
            w, t = fit(a, 30)
            own = plus(squares(w, 2 * act_fb - t), constant(len(w) * 1e-6))
            y = self.project(name, "down", 0, w, 2 * act_fb - t, root(own), res_fb)
            x = self.add(name, x, y)
        found = self.norm_root("head", x, res_fb, x, res_fb)
        return self.project("head", "head", 0, x, res_fb, found, fbs.logit_fb)


def random_fields(config: AbsmaxConfig, rng: np.random.Generator, wild: bool) -> dict[str, Any]:
    """Contents of a tape with values as trained models have them; ``wild``: of any size."""
    shapes = {name: field.shape for field in tape_fields(config) if (name := field.name)}
    fields: dict[str, Any] = {
        "embedding/scale": rng.integers(0 if wild else 1 << 14, 1 << 16, config.vocab_size),
        "embedding/rows": rng.integers(-128, 128, shapes["embedding/rows"]),
        "lower_bounds": rng.integers(0, (1 << 12) + 1, shapes["lower_bounds"]),
    }
    if wild:
        fields["sigmoid"] = rng.integers(0, (1 << 24) + 1, shapes["sigmoid"])
    for name, shape in shapes.items():
        match name.rpartition("/")[2]:
            case "norm_fb":
                fields[name] = [int(rng.integers(-14, 39)) if wild else 14]
            case "norm":
                low = -(1 << 15) if wild else 1 << 13
                fields[name] = rng.integers(low, 1 << 15, shape)
            case "gain":
                low = -(1 << 23) if wild else 1 << 21
                fields[name] = rng.integers(low, 1 << 23, shape)
            case "constants":
                gain_fb = int(rng.integers(10, 30)) if wild else 22
                exponent = int(rng.integers(-45, 17)) if wild else int(rng.integers(-33, -29))
                fields[name] = [gain_fb, int(rng.integers(1 << 23, 1 << 24)), exponent]
    for kind, layer, rows, fan_in in config.segments():
        segment = kind if layer is None else f"layer {layer} {kind}"
        for name in shapes:
            if name.startswith(f"{segment}/") and name.endswith("/trits"):
                trits = rng.integers(-1, 2, (rows, fan_in)).astype(np.int8)
                fields[name] = pack_trits(trits)
    return fields


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
    fields = random_fields(config, rng, wild)
    tape = absmax_tape(tmp_path, fields, config=config, embedding_fb=embedding_fb, formats=formats)
    golden, literal = AbsmaxGolden(tape), Literal(tape)
    assert_steps_agree(golden, literal, rng.integers(0, 6, 12))
    if wild:
        assert all(literal.saturations.values())
