"""Evaluation, against models whose score is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmfree.evaluate import evaluate_sums, evaluate_text
from mmfree.tasks import add_digits, draw_sums
from mmfree.tokenizer import AdditionTokenizer, ByteTokenizer


class Table:
    """A backend that gives the same logits at every position."""

    name = "table"
    tokenizer = ByteTokenizer()

    def __init__(self, logits: np.ndarray) -> None:
        self._logits = logits.astype(np.float32)

    def state(self, batch: int) -> Any:
        return None

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        return np.broadcast_to(self._logits, (*ids.shape, len(self._logits))), state


class Adder:
    """A backend that adds, by carrying in its state; wrong in the digits above ``limit`` columns."""

    name = "adder"
    tokenizer = AdditionTokenizer()

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def state(self, batch: int) -> Any:
        return np.zeros((3, batch), dtype=np.int64)  # carry, a, column

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        carry, a, column = state
        logits = np.zeros((*ids.shape, 10), dtype=np.float32)
        for position in range(ids.shape[1]):
            token = ids[:, position]
            is_b = (token >= 10) & (token < 20)
            total = a + token - 10 + carry
            digit = np.where(column < self._limit, total % 10, 0)
            logits[np.arange(len(ids)), position, np.where(is_b, digit, 0)] = 1
            carry, column = np.where(is_b, total // 10, carry), column + is_b
            a = np.where(token < 10, token, a)
        return logits, (carry, a, column)


def test_uniform_logits_cost_eight_bits() -> None:
    result = evaluate_text(Table(np.zeros(256)), b"any text at all")
    assert result.bits_per_byte == pytest.approx(8)
    assert (result.backend, result.bytes) == ("table", 15)


def test_bits_per_byte_are_the_cross_entropy() -> None:
    text = b"abab" * 2000 + b"a"
    logits = np.full(256, -1e9)
    logits[ord("a")], logits[ord("b")] = np.log(0.75), np.log(0.25)
    expected = -(4001 * np.log2(0.75) + 4000 * np.log2(0.25)) / 8001
    assert evaluate_text(Table(logits), text).bits_per_byte == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["random", "chains"])
@pytest.mark.parametrize("digits", [1, 100, 300])
def test_an_adder_is_exact(kind: str, digits: int) -> None:
    result = evaluate_sums(Adder(10**6), kind=kind, digits=digits, examples=7)
    assert (result.exact, result.examples, result.accuracy) == (7, 7, 1.0)


def test_one_wrong_digit_is_not_exact() -> None:
    """The last carry alone is lost: chains are all wrong, random sums right where nothing is carried out."""
    assert evaluate_sums(Adder(20), kind="chains", digits=20, examples=9).exact == 0
    random = evaluate_sums(Adder(20), kind="random", digits=20, examples=200, seed=4)
    a, b = draw_sums(np.random.default_rng(4), "random", 20, 200)
    assert random.exact == int((add_digits(a, b)[:, -1] == 0).sum())
    assert 0.3 < random.accuracy < 0.7


@pytest.mark.parametrize(("digits", "examples"), [(0, 1), (1, 0)])
def test_nothing_to_evaluate_is_refused(digits: int, examples: int) -> None:
    with pytest.raises(ValueError, match="--digits and --examples must be at least 1"):
        evaluate_sums(Adder(1), kind="random", digits=digits, examples=examples)
