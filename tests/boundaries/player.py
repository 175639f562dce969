"""Boundaries of the fast player."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import numpy as np

from mmfree.contract.absmax import AbsmaxFormats
from mmfree.contract.pow2 import Formats
from mmfree.contract.shape import AbsmaxConfig
from mmfree.golden.sampling import seed_registers
from mmfree.inference.native.player import Player, choice, pow2_settings
from mmfree.tape.pow2 import Tape
from tests.support.boundaries import Boundary, both_ends
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.random_tapes import random_tape

LIBRARY = "mmfree/inference/native/library.py"
PLAYER = "mmfree/inference/native/player.py"
SIZES = {"hidden_size": 3, "intermediate_size": 4, "num_layers": 1, "vocab_size": 2}
TAPE = random_tape(np.random.default_rng(0), head_size=2, gate="hard", **SIZES)


def with_threads(number: int) -> None:
    with mock.patch("mmfree.inference.native.library.allowed_threads", return_value=2):
        Player(TAPE, number)


def with_formats(**formats: int) -> None:
    """Of a tape of these formats, which need not suit its matrices."""
    pow2_settings(
        cast(
            Tape,
            SimpleNamespace(config=TAPE.config, formats=Formats(**formats), embedding_shift=0),
        )
    )


def with_residual_fb(folder: Path, fraction_bits: int) -> None:
    """Of a tape whose embedding has 11 fraction bits: shifted up by the difference."""
    tape = random_absmax_tape(folder, AbsmaxConfig(**SIZES), 1)
    tape.embedding_fb = 11
    tape.formats = AbsmaxFormats(residual_fb=fraction_bits)
    Player(tape)


def play(token: int) -> None:
    player = Player(TAPE)
    player.run(np.array([[token]]), player.state(1))


def draw(rows: int) -> None:
    """Of a head of that many rows; two are tokens."""
    player = Player(random_tape(np.random.default_rng(0), head_size=rows, gate="hard", **SIZES))
    logits, ends = np.zeros(rows, dtype=np.int32), np.zeros(rows, dtype=bool)
    how = choice(seed_registers(0), 0, 9, None)
    player.draw(logits, player.state(1), 1, how, ends, feeds_last=False)


ROWS: list[Boundary] = [
    Boundary(
        file=PLAYER,
        compares="config.head_size > config.vocab_size",
        allowed=lambda _: draw(2),
        refused=lambda _: draw(3),
        says="a head of 3 rows, but 2 tokens: rows cannot be fed back",
    ),
    *both_ends(
        LIBRARY,
        "1 <= asked <= allowed_threads()",
        with_threads,
        (1, 2),
        r"--threads must lie in 1\.\.2",
    ),
    *(
        Boundary(
            file=PLAYER,
            compares=f"{side}",
            allowed=lambda _, value=end: play(value),
            refused=lambda _, value=beyond: play(value),
            says=rf"ids must lie in 0\.\.1, got {beyond}$",
        )
        for side, end, beyond in (("low < 0", 0, -1), ("high >= config.vocab_size", 1, 2))
    ),
    Boundary(
        file=PLAYER,
        compares="min(settings.index_shift, settings.product_shift) < 0",
        allowed=lambda _: with_formats(state_fb=9, index_fb=4, residual_fb=13),
        refused=lambda _: with_formats(state_fb=9, index_fb=4, residual_fb=14),
        says="the fast player has no formats like ",
    ),
    Boundary(
        file=PLAYER,
        compares="settings.embedding_shift < -8",
        allowed=lambda folder: with_residual_fb(folder, 19),
        refused=lambda folder: with_residual_fb(folder, 20),
        says="the fast player has no formats like ",
    ),
]
