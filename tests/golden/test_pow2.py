"""The golden model against a slow, literal reading of docs/arithmetic.md, one value at a time in
Python integers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmfree.contract.pow2 import GATES, SATURATION_SITES, reciprocal_root_table
from mmfree.golden.pow2 import Golden
from mmfree.tape.pow2 import Matrix, Segment, Tape
from tests.support.integers.literal import assert_steps_agree
from tests.support.random_tapes import random_tape

SHAPE: dict[str, Any] = {
    "hidden_size": 9,
    "intermediate_size": 13,
    "num_layers": 2,
    "vocab_size": 6,
    "head_size": 4,
}
ROOT = [int(v) for v in reciprocal_root_table()]


def rnd(p: int, n: int) -> int:
    return (p + (1 << (n - 1))) >> n if n else p


class Literal:
    """Plays a tape by loops over Python's unbounded integers; counts saturations by site."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        config = tape.config
        self.h = [[0] * config.hidden_size for _ in range(config.num_layers)]
        self.kept = {
            (kind, layer): [0] * config.token_shift
            for kind in ("gates", "glu")
            for layer in range(config.num_layers)
        }
        self.saturations = dict.fromkeys(SATURATION_SITES, 0)

    def sat(self, site: str, value: int, bits: int) -> int:
        high = (1 << (bits - 1)) - 1
        clamped = max(-high - 1, min(high, value))
        self.saturations[site] += clamped != value
        return clamped

    def project(self, segment: Segment, u: list[int]) -> list[list[int]]:
        """Sections 5 to 7."""
        folded = 0
        for value in u:
            folded |= value if value >= 0 else -value - 1
        shift = 15 - folded.bit_length()
        q = [self.sat("quantizer", ((value << shift) + 128) >> 8, 8) for value in u]
        total = sum(value * value for value in q)
        s = total or 4096
        k = max(6, (s.bit_length() - 1) >> 1)
        r = ROOT[s >> (2 * k - 6)]
        scales = [(r * matrix.multiplier + 64) >> 7 for matrix in segment.matrices]
        sums = [
            [sum(int(t) * value for t, value in zip(row, q, strict=True)) for row in matrix.trits]
            for matrix in segment.matrices
        ]
        each_row = [m for m, rows in zip(scales, sums, strict=True) for _ in rows]
        self.note(
            segment,
            q=q,
            S=[total],
            R=[r],
            k=[k],
            M=each_row,
            acc=[acc for rows in sums for acc in rows],
        )
        return [
            [self.output(matrix, acc * m, k) for acc in rows]
            for matrix, m, rows in zip(segment.matrices, scales, sums, strict=True)
        ]

    def output(self, matrix: Matrix, product: int, k: int) -> int:
        by_table = self.tape.config.gate == "sigmoid"
        fraction_bits = {"f": 4 if by_table else 6, "o": 9, "down": 9, "head": 9}.get(
            matrix.role, 4
        )
        bits = 16 if matrix.role in ("f", "o", "down", "head") else 8
        site = "logit" if matrix.role == "head" else "projection"
        return self.sat(site, rnd(product, 9 - matrix.exponent - fraction_bits + k), bits)

    def note(self, segment: Segment, **values: list[int]) -> None:
        self.seen |= {f"{segment.name}/{label}": found for label, found in values.items()}

    def silu(self, index: int) -> int:
        return int(self.tape.silu[index + 128])

    def forget(self, z: int) -> int:
        if self.tape.config.gate == "hard":
            return max(0, min(256, z + 128))
        if self.tape.config.gate == "signed":
            return max(-256, min(256, z))
        return int(self.tape.sigmoid[z + 128])

    def mix(self, segment: Segment, x: list[int]) -> list[int]:
        """Sections 9 to 11."""
        i, z, g = self.project(segment, x)
        bias = segment.matrices[1].bias
        assert bias is not None
        assert segment.layer is not None
        z = [a + int(b) for a, b in zip(z, bias, strict=True)]
        if self.tape.config.gate == "sigmoid":
            z = [self.sat("gate", value, 8) for value in z]
        f, c = [self.forget(value) for value in z], [self.silu(value) for value in i]
        h, u = list(self.h[segment.layer]), []
        for n in range(len(h)):
            start = -h[n] if f[n] < 0 else h[n]
            h[n] = start + rnd((256 - abs(f[n])) * (c[n] - start), 8)
            squashed = self.silu(self.sat("state", rnd(h[n], 7), 8))
            u.append(self.sat("product", rnd(g[n] * squashed, 6), 16))
        self.h[segment.layer] = h
        self.note(segment, i=i, z=z, g=g, f=f, c=c, h=h, u=u)
        return u

    def shift(self, segment: Segment, x: list[int]) -> list[int]:
        """Section 19."""
        assert segment.layer is not None
        before = self.kept[segment.kind, segment.layer]
        self.kept[segment.kind, segment.layer] = x[: len(before)]
        return before + x[len(before) :]

    @property
    def state(self) -> list[list[int]]:
        """Of each layer."""
        return [
            self.kept["gates", layer] + h + self.kept["glu", layer]
            for layer, h in enumerate(self.h)
        ]

    def step(self, token: int) -> list[int]:
        x = [int(v) << self.tape.embedding_shift for v in self.tape.embedding[token]]
        u = x
        self.seen: dict[str, list[int]] = {"embedding": x}
        for segment in self.tape.segments:
            if segment.kind == "gates":
                u = self.mix(segment, self.shift(segment, x))
            elif segment.kind == "glu":
                gate, up = self.project(segment, self.shift(segment, x))
                silu = [self.silu(a) for a in gate]
                u = [self.sat("product", rnd(a * b, 6), 16) for a, b in zip(up, silu, strict=True)]
                self.note(segment, gate=gate, up=up, silu=silu, u=u)
            elif segment.kind == "head":
                (logits,) = self.project(segment, x)
                self.note(segment, logits=logits)
            else:
                (y,) = self.project(segment, u)
                x = [self.sat("residual", a + b, 16) for a, b in zip(x, y, strict=True)]
                self.note(segment, y=y, x=x)
        return logits


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("seed", range(4))
def test_golden_equals_the_text_taken_literally(gate: str, wild: bool, seed: int) -> None:
    """Every intermediate of its trace, the logits, the state and the saturations."""
    rng = np.random.default_rng(seed)
    shift = (0, 1, 5, SHAPE["hidden_size"])[seed]
    tape = random_tape(rng, gate=gate, wild=wild, token_shift=shift, **SHAPE)
    golden, literal = Golden(tape), Literal(tape)
    assert_steps_agree(golden, literal, rng.integers(0, 6, 25))


def test_play_goes_on_from_a_state() -> None:
    golden = Golden(random_tape(np.random.default_rng(2), gate="hard", **SHAPE))
    tokens = np.random.default_rng(3).integers(0, 6, 8)
    whole, state = golden.play(tokens), golden.state()
    for token in tokens[:3]:
        _, state = golden.step(np.array([token]), state)
    assert np.array_equal(golden.play(tokens[3:], state), whole[3:])
    assert not np.array_equal(golden.play(tokens[3:]), whole[3:])


def test_counters_count_until_they_are_reset() -> None:
    golden = Golden(random_tape(np.random.default_rng(0), gate="sigmoid", wild=True, **SHAPE))
    tokens = np.random.default_rng(0).integers(0, 6, 20)
    golden.play(tokens)
    once = dict(golden.saturations)
    assert any(once.values())
    golden.play(tokens)
    assert golden.saturations == {site: 2 * count for site, count in once.items()}
    golden.reset_counters()
    assert golden.saturations == dict.fromkeys(SATURATION_SITES, 0)


def test_wild_tapes_reach_every_saturation() -> None:
    """docs/arithmetic.md, 16."""
    reached = dict.fromkeys(SATURATION_SITES, 0)
    for seed in range(8):
        tape = random_tape(np.random.default_rng(seed), gate="sigmoid", wild=True, **SHAPE)
        golden = Golden(tape)
        golden.play(np.random.default_rng(seed).integers(0, 6, 20))
        for site, count in golden.saturations.items():
            reached[site] += count
    assert all(reached.values()), reached


@pytest.mark.parametrize("gate", GATES)
def test_a_batch_is_its_sequences(gate: str) -> None:
    rng = np.random.default_rng(9)
    tape = random_tape(rng, gate=gate, **SHAPE)
    golden = Golden(tape)
    tokens = rng.integers(0, 6, (5, 12))
    state = golden.state(5)
    together = []
    for position in range(12):
        logits, state = golden.step(tokens[:, position], state)
        together.append(logits)
    for index, row in enumerate(tokens):
        assert np.array_equal(golden.play(row), np.stack(together)[:, index])


def test_state_is_not_modified_and_has_the_right_type() -> None:
    tape = random_tape(np.random.default_rng(0), gate="hard", **SHAPE)
    golden = Golden(tape)
    state = golden.state(3)
    logits, new = golden.step(np.array([0, 1, 2]), state)
    assert not state.any()
    assert (state.dtype, new.dtype, logits.dtype) == (np.int16, np.int16, np.int16)
    assert (new.shape, logits.shape) == ((2, 3, 9), (3, 4))


def test_the_engine_is_exact_where_sums_are_largest() -> None:
    """128 n for the largest fan-in is below 2^24: rows of +1 and -1 on a vector of equal values."""
    shape = {**SHAPE, "hidden_size": 2, "intermediate_size": 65535, "num_layers": 1}
    tape = random_tape(np.random.default_rng(0), gate="hard", **shape)
    gates, output, glu, down, head = tape.segments
    glu, down = (
        replace(
            segment,
            matrices=tuple(
                m.with_trits(np.broadcast_to(np.array(row, dtype=np.int8), (m.rows, m.fan_in)))
                for m in segment.matrices
            ),
        )
        for segment, row in ((glu, [1, 0]), (down, [[1], [-1]]))
    )
    tape = replace(tape, segments=(gates, output, glu, down, head))
    seen: dict[str, list[int]] = {}
    golden = Golden(tape)
    for token in range(6):
        golden.step(
            np.array([token]),
            golden.state(),
            trace=lambda name, values: seen.__setitem__(name, values[0].tolist()),
        )
        (q,) = set(seen["layer 0 down/q"])
        assert seen["layer 0 down/S"] == [65535 * q * q]
        assert seen["layer 0 down/acc"] == [65535 * q, -65535 * q]
        assert abs(q) >= 64 or not any(seen["layer 0 glu/u"])


def test_trace_names_every_intermediate() -> None:
    tape = random_tape(np.random.default_rng(0), gate="hard", **SHAPE)
    golden = Golden(tape)
    names: list[str] = []
    golden.step(np.array([1]), golden.state(), trace=lambda name, values: names.append(name))
    shared = ["q", "S", "R", "k", "M", "acc"]
    own = {
        "gates": ["i", "z", "g", "f", "c", "h", "u"],
        "output": ["y", "x"],
        "glu": ["gate", "up", "silu", "u"],
        "down": ["y", "x"],
        "head": ["logits"],
    }
    expected = ["embedding"]
    for segment in tape.segments:
        expected += [f"{segment.name}/{name}" for name in shared + own[segment.kind]]
    assert names == expected


def test_lowest_row_wins_a_tie() -> None:
    logits = np.array([[1, 7, 7], [3, 3, 3], [-5, -9, -5]], dtype=np.int16)
    assert Golden.next_token(logits).tolist() == [1, 0, 0]
