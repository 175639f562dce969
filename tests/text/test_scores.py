"""Scores of a text: every token but start tokens, once, in pieces of any length."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfree.errors import InputError
from mmfree.text.scores import Place, Score, ScoredText, perplexity

START = 9
TOKENS = np.array([9, 1, 2, 9, 3, 0, 0, 9, 4], dtype=np.uint16)
"""Three documents, six tokens of text."""

LIKELIHOODS = np.random.default_rng(0).normal(size=10)


def parts(text: ScoredText, columns: int) -> Iterator[tuple[Place, np.ndarray]]:
    """Logits that say at every position how likely each token is."""
    rows, length = text.batch.ids.shape
    for first in range(0, length, columns):
        part = slice(first, first + columns)
        shape = (rows, len(range(length)[part]), len(LIKELIHOODS))
        yield (slice(None), part), np.broadcast_to(LIKELIHOODS, shape)


def expected_nats() -> float:
    log_likelihoods = LIKELIHOODS - np.log(np.exp(LIKELIHOODS).sum())
    return -float(log_likelihoods[TOKENS[TOKENS != START]].sum())


@pytest.mark.parametrize("length", [1, 2, 4, 9, 100])
def test_start_tokens_are_no_text(length: int) -> None:
    text = ScoredText.as_windows(TOKENS, 11, start=START, length=length)
    assert (text.tokens, text.bytes) == (6, 11)
    assert text.batch.ids.shape[1] <= length
    assert (text.batch.ids[:, 0] == START).all()
    score = text.score(parts(text, 2))
    assert (score.tokens, score.bytes) == (6, 11)
    assert score.nats == pytest.approx(expected_nats(), rel=1e-12)
    assert score.bits_per_byte == pytest.approx(expected_nats() / np.log(2) / 11)
    assert score.token_perplexity == pytest.approx(np.exp(expected_nats() / 6))


@given(st.integers(1, 6000), st.integers(1, 700), st.integers(0, 9))
def test_windows_and_streams_score_the_same_tokens(size: int, length: int, start: int) -> None:
    tokens = np.random.default_rng(size).integers(0, 10, size).astype(np.uint8)
    tokens[0] = 5 if start != 5 else 6
    wanted = tokens[tokens != start].tolist()
    for text in (
        ScoredText.as_windows(tokens, size, start=start, length=length),
        ScoredText.as_streams(tokens, size, start=start),
    ):
        assert text.batch.targets[text.batch.mask].tolist() == wanted
        assert (text.tokens, text.bytes) == (len(wanted), size)


def test_integers_have_fraction_bits() -> None:
    text = ScoredText.as_streams(TOKENS, 11, start=START)
    logits = np.round(512 * np.broadcast_to(LIKELIHOODS, (1, 9, 10))).astype(np.int32)
    score = text.score([(slice(None), logits)], fraction_bits=9)
    assert score.nats == pytest.approx(expected_nats(), abs=0.02)


@pytest.mark.parametrize("given", [slice(0, 8), slice(1, 9), slice(0, 0)])
def test_what_was_to_be_scored_is_known_beforehand(given: slice) -> None:
    text = ScoredText.as_streams(TOKENS, 11, start=START)
    ((_, logits),) = parts(text, 9)
    whole = (slice(None), logits)
    with pytest.raises(AssertionError, match="a part of the text was not scored, or scored twice"):
        text.score([((slice(None), given), logits[:, given])])
    with pytest.raises(AssertionError, match="a part of the text was not scored, or scored twice"):
        text.score([whole, whole])


@pytest.mark.parametrize("tokens", [[], [START], [START, START]])
def test_a_text_without_tokens_is_refused(tokens: list[int]) -> None:
    with pytest.raises(InputError, match="the text has no token to score: give more text"):
        ScoredText.as_streams(np.array(tokens, dtype=np.uint8), 0, start=START)


@pytest.mark.parametrize(
    ("tokens", "rows"), [(1, 1), (2047, 1), (2048, 2), (65_535, 63), (65_536, 64), (200_000, 64)]
)
def test_streams_have_1024_tokens_at_least_and_are_64_at_most(tokens: int, rows: int) -> None:
    text = ScoredText.as_streams(np.ones(tokens, dtype=np.uint8), tokens, start=0)
    assert text.batch.ids.shape == (rows, -(-tokens // rows))


def test_windows_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="a text to score must have at least one token, got none"):
        ScoredText.as_windows(np.zeros(0, dtype=np.uint8), 0, start=START, length=3)


def test_a_perplexity_beyond_floats_is_infinite() -> None:
    assert perplexity(699.0 * 3, 3) == pytest.approx(math.e**699)
    assert perplexity(1400.0, 2) == float("inf")
    assert Score(nats=1400.0, tokens=2, bytes=1).token_perplexity == float("inf")
