"""Evaluation: bits per byte of text, and accuracy on tasks, with any backend."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.backends import Backend
from mmfree.data import streams
from mmfree.tasks import TASKS

CHUNK = 256
"""Positions played between two updates of the progress bar."""


@dataclass(frozen=True)
class TextResult:
    """Bits per byte over ``bytes`` bytes of text."""

    backend: str
    bits_per_byte: float
    bytes: int


@dataclass(frozen=True)
class TaskResult:
    """``exact`` of ``examples`` with every answer right; ``digits``: length of an example, in the task's unit."""

    backend: str
    task: str
    digits: int
    examples: int
    exact: int

    @property
    def accuracy(self) -> float:
        """Share of exact examples."""
        return self.exact / self.examples


def evaluate_text(backend: Backend, text: bytes) -> TextResult:
    """Bits per byte; the text is cut as ``mmfree.data.streams`` says, for every backend alike."""
    batch = streams(np.frombuffer(text, dtype=np.uint8))
    nats, state = 0.0, backend.state(batch.ids.shape[0])
    for ids, targets, mask in _chunks(batch.ids, batch.targets, batch.mask):
        logits, state = backend.run(ids, state)
        nats += float((negative_log_likelihood(logits, targets) * mask).sum())
    return TextResult(backend.name, nats / math.log(2) / len(text), len(text))


def negative_log_likelihood(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """-log softmax(logits)[target] in nats, [B, T]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(wide, targets[..., None], axis=-1)[..., 0]
    return np.asarray(np.log(np.exp(wide).sum(axis=-1)) - chosen)


def evaluate_task(
    backend: Backend,
    name: str,
    *,
    digits: int | None = None,
    examples: int | None = None,
    seed: int = 0,
) -> TaskResult:
    """Accuracy on ``examples`` of length ``digits``; by default those of the task.

    Raises
    ------
    ValueError
        If the task is unknown, examines models of another kind, or a number is out of range.
    """
    if name not in TASKS:
        raise ValueError(f"--task must be one of {', '.join(TASKS)}, got {name!r}")
    task = TASKS[name]
    if backend.tokenizer.kind != task.tokenizer:
        raise ValueError(f"--task {name}: the model is for {backend.tokenizer.kind}")
    if digits is not None and task.unit is None:
        raise ValueError(f"--digits: the examples of task {name} have one length")
    digits = task.length if digits is None else digits
    examples = task.examples if examples is None else examples
    if digits < 1 or (examples is not None and examples < 1):
        raise ValueError(f"--digits and --examples must be at least 1, got {digits} and {examples}")
    batch = task.draw(np.random.default_rng(seed), digits, examples)
    rows, state = [], backend.state(len(batch.ids))
    for (part,) in _chunks(batch.ids):
        logits, state = backend.run(part, state)
        rows.append(logits.argmax(axis=-1))
    exact = batch.num_exact(np.concatenate(rows, axis=1))
    return TaskResult(backend.name, name, digits, len(batch.ids), exact)


def _chunks(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    starts = range(0, arrays[0].shape[1], CHUNK)
    for start in tqdm(starts, unit="chunk", disable=None, leave=False):
        yield tuple(array[:, start : start + CHUNK] for array in arrays)
