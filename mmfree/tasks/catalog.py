"""Tasks whose answers can be checked: what is learned, and what is examined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from mmfree.errors import InputError
from mmfree.tasks.addition import examined_sums, training_sums
from mmfree.tasks.modular import examined_pairs, held_out_pairs, split_pairs, training_pairs
from mmfree.tasks.parity import parities, training_parities
from mmfree.text.batch import Batch
from mmfree.text.tokenizer import Tokenizer

Rng = np.random.Generator

MAX_POSITIONS = 1 << 28
"""Most positions of an examination; at each of them id and target take 16 bytes."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An examination of models for one kind of problem.

    Attributes
    ----------
    tokenizer
        Kind of the tokenizer whose models it examines.
    unit
        What the length of an example counts; None if all have the same length.
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


def _check_positions(length: int, examples: int) -> None:
    if length * examples > MAX_POSITIONS:
        raise InputError(
            f"--digits times --examples must be at most {MAX_POSITIONS}, got {length} times"
            f" {examples}"
        )


def _sums(kind: str, rng: Rng, length: int, examples: int | None) -> Batch:
    assert examples is not None
    _check_positions(length, examples)
    return examined_sums(rng, kind, length, examples)


def _parities(rng: Rng, length: int, examples: int | None) -> Batch:
    assert examples is not None
    _check_positions(length, examples)
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
"""By the name that the command line has for them."""


def training_batch(task: str, rng: Rng, batch_size: int, length: int) -> Batch:
    """A batch of a recipe's task; "text" is not one of these."""
    if task == "addition":
        return training_sums(rng, batch_size, length)
    if task == "parity":
        return training_parities(rng, batch_size, length)
    assert task == "modular-addition"
    return training_pairs(rng, batch_size)


def followed_examples(task: str) -> tuple[Batch, Batch] | None:
    """Examples to score during training, if a task has few: all for training, and all held out."""
    if task != "modular-addition":
        return None
    training, held_out = split_pairs()
    return examined_pairs(training), examined_pairs(held_out)


def tasks_of(tokenizer: Tokenizer) -> list[str]:
    """Names of the tasks that examine models of a tokenizer; none for text."""
    return [name for name, task in TASKS.items() if task.tokenizer == tokenizer.kind]
