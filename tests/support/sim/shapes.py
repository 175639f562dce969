"""The shapes and tapes that chip and golden model are compared on."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmfree.chip.design import Design
from mmfree.chip.sizing import design_for, design_of_array
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.contract.pow2 import GATES
from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.pow2 import Tape
from sim.cosim.run_folder import Sequence
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.random_tapes import random_tape


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model shape and the lanes that play it."""

    name: str
    config: ModelConfig
    lanes: int

    def tape(self, seed: int, *, wild: bool) -> Tape:
        """A random tape of this shape; ``wild``: built to saturate."""
        config = self.config.to_dict()
        return random_tape(np.random.default_rng(seed), wild=wild, **config)

    def design(self) -> Design:
        """The design that plays every tape of this shape."""
        return design_for(self.tape(0, wild=False), self.lanes)


@dataclass(frozen=True, kw_only=True)
class AbsmaxShape:
    """Likewise of a published checkpoint.

    ``array``: rows, columns and the post-processing's width.
    """

    name: str
    config: AbsmaxConfig
    array: tuple[int, int, int]
    code: str = "2"

    def tape(self, folder: Path, seed: int, *, wild: bool = False) -> AbsmaxTape:
        """A random tape of this shape in a folder; ``wild``: built to saturate."""
        return random_absmax_tape(folder, self.config, seed, wild=wild)

    def design(self) -> Design:
        """The design that plays every tape of this shape."""
        return design_of_array(self.config, *self.array, self.code)


def _absmax_shape(
    name: str, d: int, i: int, layers: int, vocab: int, array: tuple[int, int, int], code: str
) -> AbsmaxShape:
    config = AbsmaxConfig(vocab_size=vocab, hidden_size=d, intermediate_size=i, num_layers=layers)
    return AbsmaxShape(name=name, config=config, array=array, code=code)


def _shape(
    name: str,
    d: int,
    i: int,
    layers: int,
    vocab: int,
    head: int,
    gate: str,
    lanes: int,
    shift: int = 0,
) -> Shape:
    config = ModelConfig(
        vocab_size=vocab,
        head_size=head,
        hidden_size=d,
        intermediate_size=i,
        num_layers=layers,
        gate=gate,
        token_shift=shift,
    )
    return Shape(name=name, config=config, lanes=lanes)


ADDITION = _shape("addition", 64, 128, 2, 31, 10, "hard", 64)
ODD = _shape("odd", 20, 37, 1, 7, 5, "sigmoid", 16)
TINY = _shape("tiny", 4, 4, 1, 6, 2, "hard", 4)
"""Small enough for Amaranth's simulator."""

ABSMAX_ODD = _absmax_shape("odd", 20, 37, 2, 7, (4, 4, 1), "2")
ABSMAX_SLOW_SHAPES = (
    _absmax_shape("three layers", 33, 70, 3, 40, (5, 8, 1), "1.6"),
    _absmax_shape("many rows", 10, 90, 2, 31, (16, 4, 4), "2"),
    _absmax_shape("one tile", 12, 14, 3, 20, (8, 16, 1), "1.6"),
    _absmax_shape("a row", 3, 2, 2, 3, (1, 2, 1), "2"),
    _absmax_shape("text", 64, 176, 2, 256, (16, 16, 2), "1.6"),
    _absmax_shape("two a cycle", 12, 9, 1, 11, (6, 8, 2), "1.67"),
)

FAST_SHAPES = (ADDITION, ODD)
SLOW_SHAPES = (
    _shape("three layers", 33, 70, 3, 40, 41, "hard", 32),
    _shape("many lanes", 64, 96, 1, 31, 31, "sigmoid", 256),
    _shape("one tile", 12, 40, 3, 20, 20, "sigmoid", 64),
    _shape("signed gate", 48, 40, 2, 9, 4, "signed", 32),
    _shape("text", 128, 256, 2, 256, 256, "hard", 128),
    _shape("addition by sigmoid", 64, 128, 2, 31, 10, "sigmoid", 64),
    _shape("token shift", 40, 56, 2, 20, 20, "hard", 64, shift=17),
)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A random tape, and a design that plays it and others: here and there it has room to spare."""

    tape: Tape
    design: Design


SPARE = (
    *("max_width", "max_rows", "weight_words", "header_words"),
    *("embedding_rows", "embedding_width", "bias_words", "state_words"),
)
"""Limits of a design that may be larger than a tape needs them."""


def drawn(seed: int, scale: int = 1) -> Drawn:
    """A small chip, anywhere within the limits of ModelConfig and Design.

    Rows may exceed the model's width, I may be below d, the head may be the tallest matrix, and any
    size may be 1. Row numbers of the head are tokens, so that a chip can feed its choice back.
    ``scale``: of sizes and lanes, for a faster simulator.
    """
    rng = random.Random(seed)
    head = rng.choice([1, 2, rng.randint(3, 14 * scale)])
    config = ModelConfig(
        vocab_size=head + rng.choice([0, 1, 4]),
        head_size=head,
        hidden_size=rng.choice([1, 4, rng.randint(2, 13 * scale), rng.randint(3, 20 * scale)]),
        intermediate_size=rng.choice([1, rng.randint(2, 9 * scale), rng.randint(2, 36 * scale)]),
        num_layers=rng.choice([1, 1, 2]),
        gate=rng.choice(GATES),
    )
    shift = random.Random(f"token shift {seed}").choice([0, 1.0, 0.5, 0.25])
    config = replace(config, token_shift=int(shift * config.hidden_size))
    rows = rng.choice([1, 2, 3, 4, 6, 7, 8, 12]) * rng.choice([1, scale])
    columns = rng.choice([2, 4, 8]) * rng.choice([1, scale])
    widths = [1 << n for n in range(10) if rows % (1 << n) == columns % (1 << n) == 0]
    code = rng.choice(sorted(WEIGHT_CODES))
    design = design_of_array(config, rows, columns, rng.choice(widths), code)
    spare = {name: getattr(design, name) + rng.choice([0, 0, 1, 5]) for name in SPARE}
    values = np.random.default_rng(seed)
    tape = random_tape(values, wild=rng.random() < 0.5, **config.to_dict())
    return Drawn(tape=tape, design=replace(design, **spare))


def random_tokens(config: ModelConfig, count: int, seed: int) -> list[Sequence]:
    """``count`` random tokens in three sequences, so that the state is cleared between them."""
    ids = np.random.default_rng(seed).integers(0, config.vocab_size, count).tolist()
    cuts = [0, count // 2, count // 2 + 1, count]
    return [Sequence(prompt=ids[a:b]) for a, b in itertools.pairwise(cuts)]


COMBINATIONS = [
    (gate, code, temperature, lanes)
    for gate, temperature in (("sigmoid", 64), ("hard", 0), ("hard", 200), ("signed", 64))
    for code, lanes in (("2", 16), ("1.67", 32), ("1.6", 64))
]
"""Gate, weight code, temperature and lanes: chip and golden model are compared on each."""

ROWS = [
    ("signed", "1.6", (5, 4, 1)),
    ("hard", "1.67", (20, 8, 4)),
    ("sigmoid", "2", (12, 16, 4)),
]
"""Gate, weight code; rows that are no power of two, columns and post-processing width."""


def shape_of(d: int, intermediate: int, layers: int, vocabulary: int) -> ModelConfig:
    """A model of text with the hard gate, by its sizes."""
    return ModelConfig(
        vocab_size=vocabulary,
        head_size=vocabulary,
        hidden_size=d,
        intermediate_size=intermediate,
        num_layers=layers,
        gate="hard",
    )
