"""Sums for training and evaluation."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfree.errors import InputError
from mmfree.tasks.addition import (
    BOOSTED_SHARE,
    add_digits,
    draw_sums,
    examined_sums,
    sum_ids,
    training_sums,
)
from mmfree.text.task_tokenizers import AdditionTokenizer


def number(digits: np.ndarray) -> int:
    return sum(int(digit) * 10**place for place, digit in enumerate(digits))


@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from(["random", "chains"]))
def test_digits_of_sums_are_those_of_python(seed: int, digits: int, kind: str) -> None:
    a, b = draw_sums(np.random.default_rng(seed), kind, digits, 3)
    for x, y, total in zip(a, b, add_digits(a, b), strict=True):
        assert number(total) == number(x) + number(y)


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_a_chain_carries_through_every_column(seed: int, digits: int) -> None:
    a, b = draw_sums(np.random.default_rng(seed), "chains", digits, 4)
    assert a.min() >= 0
    assert b.min() >= 0
    assert a.max() <= 9
    assert b.max() <= 9
    carry = np.zeros(4, dtype=int)
    for column in range(digits):
        carry = (a[:, column] + b[:, column] + carry) // 10
        assert carry.all()
    assert (a[:, 1:] + b[:, 1:] == 9).all()


def test_ten_thousand_digits() -> None:
    a, b = draw_sums(np.random.default_rng(0), "chains", 10_000, 1)
    total = add_digits(a, b)[0]
    assert total[-1] == 1
    assert not total[1:-1].any()


def test_ids_are_those_of_the_tokenizer() -> None:
    a, b = draw_sums(np.random.default_rng(1), "random", 7, 5)
    for ids, x, y in zip(sum_ids(a, b), a, b, strict=True):
        assert ids.tolist() == AdditionTokenizer().encode(f"{number(x):07}+{number(y):07}")


def test_training_sums_are_right_and_scored_at_b_alone() -> None:
    lengths = set()
    for seed in range(60):
        batch = training_sums(np.random.default_rng(seed), 8, 20)
        digits = (batch.ids.shape[1] - 3) // 2
        lengths.add(digits)
        assert np.array_equal(np.flatnonzero(batch.mask[0]), np.arange(2, 2 * digits + 3, 2))
        a, b = batch.ids[:, 1:-2:2], batch.ids[:, 2:-2:2] - AdditionTokenizer.b_offset
        assert np.array_equal(batch.targets[:, 2::2], add_digits(a, b))
        assert not batch.ids[:, -2].any()
        assert (batch.ids[:, -1] == AdditionTokenizer.b_offset).all()
    assert min(lengths) == 1
    assert max(lengths) == 20


def test_half_of_the_training_sums_have_more_columns_of_nine() -> None:
    batches = [training_sums(np.random.default_rng(seed), 64, 20) for seed in range(40)]
    nines = [
        (batch.ids[:, 1:-2:2] + batch.ids[:, 2:-2:2] - AdditionTokenizer.b_offset == 9)
        for batch in batches
    ]
    boosted = np.concatenate([part[:32].ravel() for part in nines]).mean()
    plain = np.concatenate([part[32:].ravel() for part in nines]).mean()
    assert boosted == pytest.approx(BOOSTED_SHARE + 0.1 * (1 - BOOSTED_SHARE), abs=0.02)
    assert plain == pytest.approx(0.1, abs=0.02)


def test_exact_means_every_digit() -> None:
    a, b = draw_sums(np.random.default_rng(2), "random", 6, 3)
    batch = examined_sums(np.random.default_rng(2), "random", 6, 3)
    assert np.array_equal(batch.ids, sum_ids(a, b))
    rows = np.zeros((3, 15), dtype=np.int64)
    rows[:, 2::2] = add_digits(a, b)
    assert batch.num_exact(rows) == 3
    rows[1, 2] = (rows[1, 2] + 1) % 10
    rows[2, 3] = 5  # not a position of b
    assert batch.num_exact(rows) == 2
    rows[0, 4] = (rows[0, 4] + 1) % 10
    assert batch.num_exact(rows) == 1


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="must be one of random, chains, got 'odd'"):
        draw_sums(np.random.default_rng(0), "odd", 1, 1)


def test_every_digit_is_drawn_and_every_first_column_that_carries() -> None:
    a, b = draw_sums(np.random.default_rng(0), "random", 20, 200)
    for digits in (a, b):
        assert np.unique(digits).tolist() == list(range(10))
    a, b = draw_sums(np.random.default_rng(0), "chains", 3, 2000)
    first = {(int(x), int(y)) for x, y in zip(a[:, 0], b[:, 0], strict=True)}
    assert first == {(x, y) for x in range(10) for y in range(10) if x + y >= 10}
    assert np.unique(a[:, 1:]).tolist() == list(range(10))


def test_the_limit_of_digits_stays_as_it_was() -> None:
    before = sys.get_int_max_str_digits()
    digits = np.full((1, 5000), 9)
    assert add_digits(digits, digits)[0, :2].tolist() == [8, 9]
    assert sys.get_int_max_str_digits() == before != 0


def test_examined_sums_are_scored_at_b_alone() -> None:
    batch = examined_sums(np.random.default_rng(0), "chains", 2, 4)
    assert batch.mask.tolist() == [[False, False, True, False, True, False, True]] * 4
    assert batch.targets[:, 6].tolist() == [1] * 4
