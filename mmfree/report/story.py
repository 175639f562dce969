"""A text that a model writes, coloured by how sure it was of each piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import numpy as np

from mmfree.golden.sampling import temperature_code
from mmfree.inference.backends import play_tape, tape_player
from mmfree.inference.generate import TEXT_TEMPERATURE, generate_rows
from mmfree.report.page import note
from mmfree.report.palette import SHADE, themed
from mmfree.tape.pow2 import Tape

MOST_TOKENS = 300
"""The most of a text that is shown."""

BITS = (0.5, 1.5, 3.0, 5.0)
"""Surprise, -log2 p, from which on a piece has the next shade."""


@dataclass(frozen=True)
class Piece:
    """A piece of a text, and the probability that the model gave it, before any temperature."""

    text: str
    probability: float


def write(tape: Tape, prompt: str, *, seed: int = 0, tokens: int = MOST_TOKENS) -> Iterator[Piece]:
    """What a model of text writes after a prompt: the text of ``mmfree generate``, piece by piece.

    A piece ends where a character does. It ends with what ends a text, or after ``tokens``.
    """
    backend = play_tape(tape, tape_player(), None)
    asked = backend.tokenizer.encode(prompt)
    code = temperature_code(TEXT_TEMPERATURE)
    rows = list(generate_rows(backend, asked, tokens, temperature=code, seed=seed))
    if rows and rows[-1] in backend.end_ids:
        rows.pop()
    logits, _ = backend.run(np.array([[*asked, *rows]]), backend.state(1))
    nats = logits[0, len(asked) - 1 :].astype(np.float64) * 2.0**-backend.fraction_bits
    done, probability = "", 1.0
    for count, row in enumerate(rows, start=1):
        here = nats[count - 1]
        probability *= math.exp(here[row] - np.logaddexp.reduce(here))
        text = backend.tokenizer.decode(rows[:count])
        if not text.endswith("\ufffd"):
            yield Piece(text[len(done) :], probability)
            done, probability = text, 1.0


def coloured(tape: Tape, prompt: str) -> str:
    """The text on a page: the less likely a piece was, the stronger its colour."""
    pieces = "".join(
        f"<span class=s{sum(-math.log2(max(piece.probability, 1e-9)) >= bits for bits in BITS)}"
        f' title="{100 * piece.probability:.0f} %">{escape(piece.text)}</span>'
        for piece in write(tape, prompt)
    )
    drawn = f"Drawn at temperature {TEXT_TEMPERATURE}, seed 0, after “{prompt.strip()}”. "
    remark = drawn + meaning("measured; golden's integers")
    return (
        f'<style>{shades()}</style><pre class="text">{escape(prompt)}{pieces}</pre>{note(remark)}'
    )


def meaning(how: str) -> str:
    """What the colours mean; ``how`` the probabilities were got."""
    most, least = (f"{100 * 2**-bits:.0f} %" for bits in (BITS[0], BITS[-1]))
    return (
        f"Colour: the probability that the model gave each piece ({how}): none above {most}, the"
        f" strongest below {least}."
    )


def shades() -> str:
    """Rules of the classes s0 to s4: the shades of pieces, by how many of BITS they reach."""
    rules = "".join(
        f".s{shade}{{background:color-mix(in srgb,{SHADE} {percent}%,transparent)}}"
        for shade, percent in enumerate((0, 15, 30, 50, 75))
    )
    return themed(rules)
