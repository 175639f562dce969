"""What an option of the command line changes, and what a verb asks for and says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmfree.tape.pow2 import Tape
from tests.support.random_tapes import random_tape

GONE = object()
"""In place of a value: this is not asked for any more."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What an option changes.

    ``words``: added to the base's. ``instead``: word of the base -> words in its place.
    ``changes``: of what is asked for. ``why``: where nothing changes, why not.
    """

    words: str = ""
    instead: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command line, what it asks for and what it says.

    ``below``: what is replaced, "module:function" -> its result. ``asked``: all that the base asks
    for. ``values``: its JSON; ``said``: its text; ``code``: how it ends. ``rows``: option, by the
    parser's ``dest``.
    """

    words: str
    below: dict[str, Any]
    asked: dict[str, Any]
    values: dict[str, Any]
    said: str
    rows: dict[str, Row]
    code: int = 0

    @property
    def verb(self) -> str:
        """The verb."""
        return self.words.partition(" ")[0]


def tape_of(tokenizer: str, vocab_size: int, head_size: int) -> Tape:
    """A random model: 4 d^2 + 3 d I + head d weights for each of its one layer, d 16, I 24."""
    tape = random_tape(
        np.random.default_rng(1),
        hidden_size=16,
        intermediate_size=24,
        num_layers=1,
        vocab_size=vocab_size,
        head_size=head_size,
        gate="hard",
    )
    return replace(tape, tokenizer={"kind": tokenizer})


TEXT_TAPE, SUM_TAPE = tape_of("bytes", 256, 256), tape_of("addition", 31, 10)
FILES = {"text.tape": TEXT_TAPE, "copy.tape": TEXT_TAPE, "sums.tape": SUM_TAPE}
"""Tapes that lie in the current folder."""

OUT, MADE = Path("out"), Path("made")
"""What is asked for, and the folder that is filled for it."""
