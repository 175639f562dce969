"""A text that a model writes, coloured by how sure it was of each piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import numpy as np

from mmfree.golden.sampling import Sampler, temperature_code
from mmfree.inference.backends import play_tape, tape_player
from mmfree.report.page import note
from mmfree.report.palette import AMBER, themed
from mmfree.tape.pow2 import Tape

TEMPERATURE, MOST_TOKENS = 0.5, 300
"""How it is drawn, as ``generate`` draws where nobody says; and the most of it that is shown."""

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
    sampler, code = Sampler(seed), temperature_code(TEMPERATURE)
    state = backend.state(1)
    ids = np.array([backend.tokenizer.encode(prompt)])
    rows: list[int] = []
    done, probability = "", 1.0
    for _ in range(tokens):
        logits, state = backend.run(ids, state)
        last = logits[0, -1]
        row = sampler.choose(last, code, backend.fraction_bits)
        if row in backend.end_ids:
            break
        nats = last.astype(np.float64) * 2.0**-backend.fraction_bits
        probability *= math.exp(nats[row] - np.logaddexp.reduce(nats))
        rows.append(row)
        text = backend.tokenizer.decode(rows)
        if not text.endswith("\ufffd"):
            yield Piece(text[len(done) :], probability)
            done, probability = text, 1.0
        ids = np.array([[row]])


def coloured(tape: Tape, prompt: str) -> str:
    """The text on a page: the less likely a piece was, the stronger its colour."""
    shades = "".join(
        f"<span class=s{sum(-math.log2(max(piece.probability, 1e-9)) >= bits for bits in BITS)}"
        f' title="{100 * piece.probability:.0f} %">{escape(piece.text)}</span>'
        for piece in write(tape, prompt)
    )
    rules = "".join(
        f".s{shade}{{background:color-mix(in srgb,{AMBER} {percent}%,transparent)}}"
        for shade, percent in enumerate((0, 15, 30, 50, 75))
    )
    remark = (
        f"Drawn at temperature {TEMPERATURE}, seed 0, after “{prompt.strip()}”. Colour: the"
        " probability that the model gave each piece (measured; golden's integers): none above"
        f" {100 * 2 ** -BITS[0]:.0f} %, the strongest below {100 * 2 ** -BITS[-1]:.0f} %."
    )
    style = f"<style>{themed(rules)}</style>"
    return f'{style}<pre class="text">{escape(prompt)}{shades}</pre>{note(remark)}'
