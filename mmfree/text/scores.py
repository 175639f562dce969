"""Scores of a text: which tokens count, how many bytes they are, and what a model makes of them.

Whoever scores text does it here, so that figures compare: ``mmfree evaluate`` with any backend, and
``mmfree compare``, which adds a Transformer. Every token counts once, except start tokens: they are
no text. Every byte of the text counts, and what has to be scored is known before it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.text.batch import Batch
from mmfree.text.windows import pieces, streams

CACHED = 1 << 15
"""Logits of 8 bytes, 256 KB, that are worked on at a time."""

Place = slice | tuple[slice, slice]
"""Where a part of [B, T] lies: rows, or rows and columns."""


@dataclass(frozen=True)
class Score:
    """What a text is to a model.

    Attributes
    ----------
    nats
        -log likelihood of all scored tokens.
    tokens, bytes
        Tokens that were scored, and the bytes of UTF-8 that the text has.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers."""
        return self.nats / math.log(2) / self.bytes

    @property
    def token_perplexity(self) -> float:
        """exp(nats per token): not comparable between tokenizers."""
        return perplexity(self.nats, self.tokens)


@dataclass(frozen=True)
class ScoredText:
    """A text as sequences that are scored, ``bytes`` bytes of UTF-8 in all.

    Raises
    ------
    InputError
        If there is no token to score.
    """

    batch: Batch
    bytes: int

    def __post_init__(self) -> None:
        if not self.tokens:
            raise InputError("the text has no token to score: give more text")

    @classmethod
    def as_streams(cls, tokens: NDArray[np.integer], num_bytes: int, *, start: int) -> ScoredText:
        """For models of constant state: a few long pieces (``streams``)."""
        return cls(streams(tokens, start=start), num_bytes)

    @classmethod
    def as_windows(
        cls, tokens: NDArray[np.integer], num_bytes: int, *, start: int, length: int
    ) -> ScoredText:
        """For models of every kind: as few pieces of at most ``length`` tokens as hold it.

        Raises
        ------
        InputError
            If there are no tokens.
        """
        if not len(tokens):
            raise InputError("a text to score must have at least one token, got none")
        return cls(pieces(tokens, -(-len(tokens) // length), start=start), num_bytes)

    @property
    def tokens(self) -> int:
        """Tokens to score."""
        return int(self.batch.mask.sum())

    def score(
        self, parts: Iterable[tuple[Place, NDArray[Any]]], *, fraction_bits: int = 0
    ) -> Score:
        """The score of a model: of each part of the sequences its place and its logits.

        Raises
        ------
        AssertionError
            If the parts are not all of the text, once.
        """
        nats, seen = 0.0, np.zeros(self.batch.mask.shape, dtype=np.int64)
        for place, logits in parts:
            likelihoods = negative_log_likelihood(logits, self.batch.targets[place], fraction_bits)
            nats += float((likelihoods * self.batch.mask[place]).sum())
            seen[place] += 1
        assert (seen == 1).all(), "a part of the text was not scored, or scored twice"
        return Score(nats=nats, tokens=self.tokens, bytes=self.bytes)


def perplexity(nats: float, count: int) -> float:
    """exp(nats / count), infinite where it is too large for a float."""
    each = nats / count
    return math.exp(each) if each < 700 else math.inf


def negative_log_likelihood(
    logits: NDArray[Any], targets: NDArray[np.int64], fraction_bits: int
) -> NDArray[np.float64]:
    """-log softmax(logits / 2^fraction_bits)[target] in nats, [B, T]."""
    rows, places = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1)
    nats = np.empty(len(rows))
    # As many at a time as stay in a core's cache: four passes go over them.
    step = max(1, CACHED // rows.shape[-1])
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        wide = rows[part].astype(np.float64)
        wide *= 2.0**-fraction_bits
        wide -= wide.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(wide, places[part], axis=-1)[:, 0]
        nats[part] = np.log(np.exp(wide, out=wide).sum(axis=-1)) - chosen
    return nats.reshape(targets.shape)
