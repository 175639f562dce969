"""Zero-shot multiple choice: which of several answers a model finds most likely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.errors import InputError
from mmfree.files.records import read_jsonl
from mmfree.inference.backends import Backend
from mmfree.inference.scoring import row_nats
from mmfree.text.batch import Batch
from mmfree.text.tokenizer import TextTokenizer, text_tokenizer
from mmfree.text.windows import inputs_of

ROWS = 64
"""Answers scored side by side."""


@dataclass(frozen=True)
class Question:
    """A query, its possible answers, and the index of the right one."""

    query: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True, kw_only=True)
class ChoiceResult:
    """Accuracy over ``examples`` questions.

    ``accuracy``: the answer of the largest log-likelihood is right; ``accuracy_by_byte``: that of
    the largest per byte of its text. Each with its standard error. ``chance``: expected from
    guessing.
    """

    backend: str
    examples: int
    accuracy: float
    accuracy_error: float
    accuracy_by_byte: float
    accuracy_by_byte_error: float
    chance: float


def read_questions(path: Path, examples: int | None = None) -> list[Question]:
    """The first ``examples`` questions of a JSONL file (None: all).

    Each line has "query", "choices" and "gold".

    Raises
    ------
    InputError
        If the file cannot be read, a line is no question, there is none, or ``examples`` is below
        1; the message names file and line.
    """
    if examples is not None and examples < 1:
        raise InputError(f"--examples must be at least 1, got {examples}")
    found: list[Question] = []
    for number, record in read_jsonl(path):
        found.append(_question(record, f"{path}, line {number}"))
        if len(found) == examples:
            break
    if not found:
        raise InputError(f"{path}: the file is empty; questions are needed")
    return found


def _question(record: Any, place: str) -> Question:
    wanted = '{"query": text, "choices": [text, text, ...], "gold": index of the right one}'
    if not isinstance(record, dict) or {"query", "choices", "gold"} - set(record):
        raise InputError(f"{place}: a question is {wanted}")
    query, choices, gold = record["query"], record["choices"], record["gold"]
    if not isinstance(query, str) or not query:
        raise InputError(f"{place}: query must be text, got {query!r}")
    if (
        not isinstance(choices, list)
        or len(choices) < 2
        or not all(isinstance(c, str) and c for c in choices)
    ):
        raise InputError(f"{place}: choices must be two texts or more, got {choices!r}")
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise InputError(f"{place}: gold must lie in 0..{len(choices) - 1}, got {gold!r}")
    return Question(query, tuple(choices), gold)


def evaluate_choices(backend: Backend, questions: list[Question]) -> ChoiceResult:
    """Accuracy of a text model.

    An answer's score is log P(" " + answer | query): of the ids of query, blank and answer
    together, those after the ids that they share with the query alone. (No blank where the query
    ends in white space.)

    Raises
    ------
    InputError
        If the model is for a task.
    """
    plain, by_byte = [], []
    for question, likelihoods in zip(questions, likelihoods_of(backend, questions), strict=True):
        sizes = np.array([len(choice.encode("utf-8")) for choice in question.choices])
        plain.append(int(likelihoods.argmax()) == question.gold)
        by_byte.append(int((likelihoods / sizes).argmax()) == question.gold)
    accuracy, error = _mean(plain)
    accuracy_by_byte, by_byte_error = _mean(by_byte)
    return ChoiceResult(
        backend=backend.name,
        examples=len(questions),
        accuracy=accuracy,
        accuracy_error=error,
        accuracy_by_byte=accuracy_by_byte,
        accuracy_by_byte_error=by_byte_error,
        chance=float(np.mean([1 / len(question.choices) for question in questions])),
    )


def likelihoods_of(backend: Backend, questions: list[Question]) -> list[NDArray[np.float64]]:
    """Of each question the scores of its answers, in nats; InputError as ``evaluate_choices``."""
    tokenizer = text_tokenizer(backend.tokenizer)
    sequences = [_sequence(tokenizer, q, choice) for q in questions for choice in q.choices]
    ends = np.cumsum([len(question.choices) for question in questions])[:-1]
    return np.split(_log_likelihoods(backend, sequences), ends)


def _mean(right: list[bool]) -> tuple[float, float]:
    """Share, and its standard error: sqrt(p (1 - p) / (n - 1)); 0 of a single one."""
    share = sum(right) / len(right)
    return share, math.sqrt(share * (1 - share) / max(len(right) - 1, 1))


def _sequence(
    tokenizer: TextTokenizer, question: Question, choice: str
) -> tuple[NDArray[np.int64], int]:
    """Ids of query and answer, without a start token, and how many of them are the query's."""
    blank = "" if question.query[-1].isspace() else " "
    query, both = tokenizer.encode_texts([question.query, question.query + blank + choice])
    same = query[: len(both)] == both[: len(query)]
    shared = len(same) if same.all() else int(same.argmin())
    return both.astype(np.int64), min(shared, len(both) - 1)


def _log_likelihoods(
    backend: Backend, sequences: list[tuple[NDArray[np.int64], int]]
) -> NDArray[np.float64]:
    """Of each sequence's ids after its query, in nats; similar lengths run together."""
    start = text_tokenizer(backend.tokenizer).start
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index][0]))
    result = np.zeros(len(sequences))
    for first in tqdm(range(0, len(order), ROWS), unit="batch", disable=None, leave=False):
        chosen = order[first : first + ROWS]
        length = max(len(sequences[index][0]) for index in chosen)
        targets = np.full((len(chosen), length), start, dtype=np.int64)
        mask = np.zeros(targets.shape, dtype=bool)
        for row, index in enumerate(chosen):
            ids, shared = sequences[index]
            targets[row, : len(ids)] = ids
            mask[row, shared : len(ids)] = True
        result[chosen] = -row_nats(backend, Batch(inputs_of(targets, start), targets, mask))
    return result
