"""Tasks whose answers can be checked: what is learned, and what is examined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from mmfree.tasks.addition import examined_sums, training_sums
from mmfree.tasks.modular import examined_pairs, held_out_pairs, split_pairs, training_pairs
from mmfree.tasks.parity import parities, training_parities
from mmfree.text.batch import Batch

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Task:
    """An examination.

    Attributes
    ----------
    tokenizer
        Kind of the tokenizer whose models it examines.
    unit
        What its length counts; None where all examples have the same.
    length, examples
        Defaults; examples None: all that there are.
    draw
        (generator, length, examples) to the sequences and their right answers.
    """

    tokenizer: str
    unit: str | None
    length: int
    examples: int | None
    draw: Callable[[Rng, int, int | None], Batch]


def _sums(kind: str, rng: Rng, length: int, examples: int | None) -> Batch:
    assert examples is not None
    return examined_sums(rng, kind, length, examples)


def _parities(rng: Rng, length: int, examples: int | None) -> Batch:
    assert examples is not None
    return parities(rng, length, examples)


def _pairs(rng: Rng, length: int, examples: int | None) -> Batch:
    return held_out_pairs(rng, examples)


TASKS = {
    "addition": Task(
        tokenizer="addition",
        unit="digits",
        length=100,
        examples=1000,
        draw=partial(_sums, "random"),
    ),
    "addition-chains": Task(
        tokenizer="addition",
        unit="digits",
        length=100,
        examples=1000,
        draw=partial(_sums, "chains"),
    ),
    "parity": Task(tokenizer="parity", unit="bits", length=512, examples=1000, draw=_parities),
    "modular-addition": Task(
        tokenizer="modular-addition", unit=None, length=1, examples=None, draw=_pairs
    ),
}
"""Tasks of the command line."""


def training_batch(task: str, rng: Rng, batch_size: int, length: int) -> Batch:
    """A batch of a recipe's task, "text" excepted."""
    if task == "addition":
        return training_sums(rng, batch_size, length)
    if task == "parity":
        return training_parities(rng, batch_size, length)
    assert task == "modular-addition"
    return training_pairs(rng, batch_size)


def followed_examples(task: str) -> tuple[Batch, Batch] | None:
    """For a task of few examples: all for training and all held out, to be scored along the way.

    Else None.
    """
    if task != "modular-addition":
        return None
    training, held_out = split_pairs()
    return examined_pairs(training), examined_pairs(held_out)
