"""A text on a page: what ``generate`` writes, with the probability of each piece."""

from __future__ import annotations

import math
import re
from html import unescape

import numpy as np
import pytest

from mmfree.golden.pow2 import Golden
from mmfree.inference.generate import generate
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.report import story
from mmfree.report.story import BITS, Piece, coloured, write
from mmfree.shipped import FOLDER
from mmfree.tape.reading import open_pow2_tape
from tests.support.verbs.case import TEXT_TAPE


def test_pieces_are_what_is_generated_and_their_probabilities_the_models() -> None:
    tape = open_pow2_tape(FOLDER / "stories.tape")
    found = list(write(tape, "Once", seed=3, tokens=40))
    backend = GoldenBackend(tape)
    due = generate(backend, "Once", 40, temperature=0.5, seed=3)
    assert "".join(piece.text for piece in found) == "".join(text for text, _ in due)
    tokens = backend.tokenizer.encode("Once" + "".join(piece.text for piece in found))
    nats = Golden(tape).play(tokens).astype(float) / 512
    before = len(backend.tokenizer.encode("Once"))
    probabilities = np.exp(nats - np.logaddexp.reduce(nats, axis=-1, keepdims=True))
    due_bits = sum(
        math.log2(probabilities[place - 1, tokens[place]]) for place in range(before, len(tokens))
    )
    assert sum(math.log2(piece.probability) for piece in found) == pytest.approx(due_bits)


def test_characters_are_whole() -> None:
    """Of bytes that belong together one piece is made, and a text may end in none."""
    for piece in write(TEXT_TAPE, "a", seed=1, tokens=60):
        assert piece.text
        assert 0 < piece.probability <= 1


def test_the_less_likely_a_piece_the_stronger_its_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = (0.0, *BITS)
    pieces = [Piece(f"<{n}>", 2.0 ** -(surprise + 1e-9)) for n, surprise in enumerate(bits)]
    monkeypatch.setattr(story, "write", lambda *_: iter(pieces))
    page = coloured(TEXT_TAPE, "“Go” & ")
    shown = re.findall(r'<span class=s(\d) title="(\d+) %">(.*?)</span>', page)
    assert [(int(shade), unescape(text)) for shade, _, text in shown] == [
        (n, f"<{n}>") for n in range(5)
    ]
    assert [int(percent) for _, percent, _ in shown] == [round(100 * 2**-b) for b in bits]
    assert "“Go” &amp; <span" in page
