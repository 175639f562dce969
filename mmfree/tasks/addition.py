"""Streaming addition: sums to train and to examine, in the layout of AdditionTokenizer."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.text.batch import Batch
from mmfree.text.task_tokenizers import AdditionTokenizer

SUM_KINDS = ("random", "chains")

BOOSTED_SHARE = 0.9
"""Share of the columns of a boosted sum that add up to 9.

With a share drawn uniformly from 0..1 instead, a model was exact on 22 of 100 full-carry sums of
1,000 digits; with 0.9 on all (docs/log.md).
"""

Digits = NDArray[np.int64]


def draw_sums(
    rng: np.random.Generator, kind: str, digits: int, count: int
) -> tuple[Digits, Digits]:
    """``count`` pairs of numbers of ``digits`` columns, [count, digits], least significant first.

    "random": every digit uniform. "chains": the first column carries, and every other sums to 9, so
    that one carry runs through all columns.

    Raises
    ------
    InputError
        If the kind is unknown.
    """
    if kind not in SUM_KINDS:
        raise InputError(f"kind of sums must be one of {', '.join(SUM_KINDS)}, got {kind!r}")
    a = rng.integers(0, 10, (count, digits))
    if kind == "random":
        return a, rng.integers(0, 10, (count, digits))
    a[:, 0] = rng.integers(1, 10, count)
    b = 9 - a
    b[:, 0] = rng.integers(10 - a[:, 0], 10)
    return a, b


def add_digits(a: Digits, b: Digits) -> Digits:
    """Digits of the sums, [count, digits + 1]: Python's own ``+``."""
    count, digits = a.shape
    limit = sys.get_int_max_str_digits()
    # 10,000 digits are more than the default allows.
    sys.set_int_max_str_digits(0)
    try:
        sums = [
            str(_number(x) + _number(y)).zfill(digits + 1)[::-1] for x, y in zip(a, b, strict=True)
        ]
    finally:
        sys.set_int_max_str_digits(limit)
    return np.array([[int(c) for c in text] for text in sums]).reshape(count, digits + 1)


def _number(digits: Digits) -> int:
    return int("".join(map(str, digits[::-1].tolist())))


def sum_ids(a: Digits, b: Digits) -> NDArray[np.int64]:
    """Token ids of the sums, [count, 2 * digits + 3]."""
    count, digits = a.shape
    ids = np.zeros((count, 2 * digits + 3), dtype=np.int64)
    ids[:, 0] = AdditionTokenizer.start
    ids[:, 1:-2:2] = a
    ids[:, 2::2] = AdditionTokenizer.b_offset
    ids[:, 2:-1:2] += b
    return ids


def training_sums(rng: np.random.Generator, batch_size: int, max_digits: int) -> Batch:
    """A batch of sums of one length, which is drawn from 1..max_digits columns.

    In half of the sums BOOSTED_SHARE of the columns sum to 9: these let a carry pass, and by chance
    long runs of them are too rare to learn to hold it without a leak.
    """
    digits = int(rng.integers(1, max_digits + 1))
    a, b = draw_sums(rng, "random", digits, batch_size)
    boosted = rng.random((batch_size, digits)) < BOOSTED_SHARE
    boosted &= np.arange(batch_size)[:, None] < batch_size // 2
    b = np.where(boosted, 9 - a, b)
    return _sums(a, b, _carry_sums(a, b))


def examined_sums(rng: np.random.Generator, kind: str, digits: int, count: int) -> Batch:
    """``count`` sums of ``digits`` columns; the targets are Python's own ``+``."""
    a, b = draw_sums(rng, kind, digits, count)
    return _sums(a, b, add_digits(a, b))


def _sums(a: Digits, b: Digits, totals: Digits) -> Batch:
    """The sums as a batch, scored at the positions of b."""
    ids = sum_ids(a, b)
    targets, mask = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
    targets[:, 2::2] = totals
    mask[:, 2::2] = True
    return Batch(ids, targets, mask)


def _carry_sums(a: Digits, b: Digits) -> Digits:
    """Digits of the sums by carrying, column after column, which is fast for many short sums.

    ``add_digits`` is the check (tests).
    """
    count, digits = a.shape
    sums = np.zeros((count, digits + 1), dtype=np.int64)
    carry = np.zeros(count, dtype=np.int64)
    for column in range(digits):
        total = a[:, column] + b[:, column] + carry
        sums[:, column], carry = total % 10, total // 10
    sums[:, digits] = carry
    return sums
