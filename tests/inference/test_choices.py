"""Multiple choice, against likelihoods that can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.inference.choices import Question, evaluate_choices, read_questions
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from tests.support.subwords import WORDS, bpe, pieces


class Successor:
    """A backend whose next token depends on the last one: a table of logits."""

    name = "successor"
    fraction_bits = 0
    end_ids: tuple[int, ...] = ()
    choosable = None

    def __init__(self, tokenizer: TextTokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        self.logits = (
            np.random.default_rng(seed).normal(0, 2, (tokenizer.vocab_size,) * 2).astype(np.float32)
        )
        self.most_columns = 0

    def state(self, batch: int) -> Any:
        return None

    def run(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        self.most_columns = max(self.most_columns, ids.shape[1])
        return self.logits[ids], state

    def log_likelihood(self, ids: list[int], last: int) -> float:
        """Of the last ``last`` ids, in nats, one at a time."""
        wide = self.logits.astype(np.float64)
        return float(
            sum(wide[a, b] - np.log(np.exp(wide[a]).sum()) for a, b in list(pairwise(ids))[-last:])
        )


def questions(count: int, seed: int) -> list[Question]:
    rng = np.random.default_rng(seed)

    def text(words: int) -> str:
        return " ".join(rng.choice(WORDS, words))

    return [
        Question(
            text(4), tuple(text(rng.integers(1, 5)) for _ in range(2 + number % 3)), number % 2
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), bpe(), pieces()], ids=lambda t: t.kind)
def test_the_most_likely_answer_is_chosen(tokenizer: TextTokenizer) -> None:
    """150 questions against likelihoods summed one by one, in batches of mixed lengths."""
    backend, asked = Successor(tokenizer, 3), questions(150, 5)
    plain = by_byte = 0
    for question in asked:
        query = tokenizer.encode(question.query)
        scores = []
        for choice in question.choices:
            both = tokenizer.encode(f"{question.query} {choice}")
            assert both[: len(query)] == query, "the query's ids stand alone here"
            scores.append(backend.log_likelihood(both, len(both) - len(query)))
        plain += int(np.argmax(scores)) == question.gold
        lengths = [len(choice.encode()) for choice in question.choices]
        by_byte += int(np.argmax(np.array(scores) / lengths)) == question.gold
    result = evaluate_choices(backend, asked)
    assert (result.backend, result.examples) == ("successor", 150)
    assert result.accuracy == plain / 150
    assert result.accuracy_by_byte == by_byte / 150
    assert plain != by_byte, "or the test would not tell them apart"
    assert result.accuracy_error == pytest.approx(
        np.std([1] * plain + [0] * (150 - plain), ddof=1) / 150**0.5
    )
    assert result.chance == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)


def test_a_token_across_the_border_is_scored_whole() -> None:
    """The blank that ends the query and the answer's first letters are one token.

    Scored from there on.
    """
    tokenizer = bpe()
    backend = Successor(tokenizer, 1)
    question = Question("see the ", ("cat", "dog and never"), 0)
    query, both = (
        tokenizer.encode(text) for text in (question.query, question.query + question.choices[0])
    )
    assert both[: len(query)] != query
    shared = next(i for i, (a, b) in enumerate(zip(query, both, strict=False)) if a != b)
    expected = [
        backend.log_likelihood(ids, len(ids) - shared)
        for ids in (tokenizer.encode(question.query + choice) for choice in question.choices)
    ]
    result = evaluate_choices(backend, [question])
    assert result.accuracy == float(expected[0] > expected[1])
    assert result.accuracy_error == 0


def test_a_model_for_a_task_answers_nothing() -> None:
    class Adder:
        name, tokenizer = "adder", AdditionTokenizer()

    with pytest.raises(InputError, match="a model for addition, not for text"):
        evaluate_choices(Adder(), questions(1, 1))  # type: ignore[arg-type]


GOOD = {"query": "Predators eat", "choices": ["bunnies", "grass"], "gold": 0}


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_questions_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", GOOD, GOOD | {"gold": 1, "id": 7}, GOOD)
    assert [question.gold for question in read_questions(path)] == [0, 1, 0]
    assert len(read_questions(path, 2)) == 2
    with pytest.raises(InputError, match="--examples must be at least 1, got 0"):
        read_questions(path, 0)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"query": "x", "choices": ["a", "b"]}, r'line 2: a question is {"query": text, "choices"'),
        ([1], "line 2: a question is"),
        (GOOD | {"query": ""}, "line 2: query must be text, got ''"),
        (GOOD | {"choices": ["one"]}, r"line 2: choices must be two texts or more, got \['one'\]"),
        (GOOD | {"choices": ["a", ""]}, "line 2: choices must be two texts or more"),
        (GOOD | {"gold": 2}, r"line 2: gold must lie in 0\.\.1, got 2"),
        (GOOD | {"gold": True}, r"line 2: gold must lie in 0\.\.1, got True"),
    ],
)
def test_lines_that_are_no_questions_are_named(
    record: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"q\.jsonl, {message}"):
        read_questions(write(tmp_path / "q.jsonl", GOOD, record))


def test_an_answer_that_the_query_swallows_is_scored_by_its_last_token() -> None:
    """A tokenizer that makes one token of both: an answer for nothing would always win."""

    class Swallows(ByteTokenizer):
        def encode_texts(self, texts: Sequence[str]) -> list[np.ndarray]:
            return [np.array([1, 2, 3]), np.array([1, 2, 3] if "in" in texts[1] else [1, 2, 4])]

    backend = Successor(Swallows(), 1)
    backend.logits[:] = 0
    backend.logits[2, 4] = 1.0
    inside, outside = Question("x", ("in", "out"), 0), Question("x", ("in", "out"), 1)
    assert evaluate_choices(backend, [inside]).accuracy == 0
    assert evaluate_choices(backend, [outside]).accuracy == 1


def test_equal_answers_are_judged_by_their_bytes_not_their_letters() -> None:
    """Likelihoods of "aaa" and "üü" are equal, and the second has four bytes."""

    class Equal(ByteTokenizer):
        def encode_texts(self, texts: Sequence[str]) -> list[np.ndarray]:
            return [np.array([1]), np.array([1, 2])]

    backend = Successor(Equal(), 1)
    result = evaluate_choices(backend, [Question("x", ("aaa", "üü"), 1)])
    assert (result.accuracy, result.accuracy_by_byte) == (0, 1)
    assert result.chance == 0.5


def test_the_first_questions_are_read_and_no_more(tmp_path: Path) -> None:
    """What comes after them may be anything."""
    path = write(tmp_path / "q.jsonl", GOOD, GOOD | {"query": "second"}, [1])
    assert [question.query for question in read_questions(path, 2)] == ["Predators eat", "second"]
    (question,) = read_questions(path, 1)
    assert question == Question("Predators eat", ("bunnies", "grass"), 0)
