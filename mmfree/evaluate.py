"""Evaluation: bits per byte of text, and accuracy on sums, with any backend."""

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
from mmfree.tasks import draw_sums, exact_sums, sum_ids

CHUNK = 256
"""Positions played between two updates of the progress bar."""


@dataclass(frozen=True)
class TextResult:
    """Bits per byte over ``bytes`` bytes of text."""

    backend: str
    bits_per_byte: float
    bytes: int


@dataclass(frozen=True)
class SumsResult:
    """``exact`` of ``examples`` sums of ``digits`` digits with every digit right."""

    backend: str
    kind: str
    digits: int
    examples: int
    exact: int

    @property
    def accuracy(self) -> float:
        """Share of exact sums."""
        return self.exact / self.examples


def evaluate_text(backend: Backend, text: bytes) -> TextResult:
    """Bits per byte; the text is cut as ``mmfree.data.streams`` says, for every backend alike."""
    batch = streams(np.frombuffer(text, dtype=np.uint8))
    nats, state = 0.0, backend.state(batch.ids.shape[0])
    for ids, targets, mask in _chunks(batch.ids, batch.targets, batch.mask):
        logits, state = backend.run(ids, state)
        nats += float((_negative_log_likelihood(logits, targets) * mask).sum())
    return TextResult(backend.name, nats / math.log(2) / len(text), len(text))


def _negative_log_likelihood(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """-log softmax(logits)[target] in nats, [B, T]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(wide, targets[..., None], axis=-1)[..., 0]
    return np.asarray(np.log(np.exp(wide).sum(axis=-1)) - chosen)


def evaluate_sums(
    backend: Backend, *, kind: str, digits: int, examples: int, seed: int = 0
) -> SumsResult:
    """Accuracy on ``examples`` sums of ``digits`` digits, "random" or "chains" (full carry)."""
    if digits < 1 or examples < 1:
        raise ValueError(f"--digits and --examples must be at least 1, got {digits} and {examples}")
    a, b = draw_sums(np.random.default_rng(seed), kind, digits, examples)
    ids = sum_ids(a, b)
    rows, state = [], backend.state(examples)
    for (part,) in _chunks(ids):
        logits, state = backend.run(part, state)
        rows.append(logits.argmax(axis=-1))
    return SumsResult(
        backend.name, kind, digits, examples, exact_sums(np.concatenate(rows, axis=1), a, b)
    )


def _chunks(*arrays: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    starts = range(0, arrays[0].shape[1], CHUNK)
    for start in tqdm(starts, unit="chunk", disable=None, leave=False):
        yield tuple(array[:, start : start + CHUNK] for array in arrays)
