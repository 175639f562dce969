"""Generation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmfree.backends import GoldenBackend
from mmfree.generate import choose, generate
from tests.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained


@pytest.fixture(scope="module")
def text_backend(tmp_path_factory: pytest.TempPathFactory) -> GoldenBackend:
    return GoldenBackend(tape_of(trained(SMALL_TEXT, tmp_path_factory.mktemp("text"))))


def test_greedy_rows_are_fed_back(text_backend: GoldenBackend) -> None:
    pieces = list(generate(text_backend, "ab", 12))
    rows = [row for _, chosen in pieces for row in chosen]
    golden, ids = text_backend.golden, [0, 97, 98]
    for row in rows:
        assert int(golden.play(ids)[-1].argmax()) == row
        ids.append(row)
    assert len(rows) == 12
    assert "".join(text for text, _ in pieces) == bytes(rows).decode("utf-8", errors="replace")


def test_sampling_depends_on_the_seed(text_backend: GoldenBackend) -> None:
    def rows(seed: int) -> list[int]:
        pieces = generate(text_backend, "ab", 30, temperature=1.0, seed=seed)
        return [row for _, chosen in pieces for row in chosen]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_a_sum_comes_at_once(tmp_path: Path) -> None:
    backend = GoldenBackend(tape_of(trained(SMALL_ADDITION, tmp_path)))
    ((text, rows),) = generate(backend, "12+34", 1)
    assert len(rows) == 7
    assert text.isdigit()


def test_sampling_follows_the_softmax() -> None:
    rng = np.random.default_rng(0)
    logits = np.array([0.0, np.log(3.0), -50.0], dtype=np.float32)
    drawn = np.bincount([choose(logits, 1.0, rng) for _ in range(4000)], minlength=3) / 4000
    assert drawn == pytest.approx([0.25, 0.75, 0.0], abs=0.03)
    cold = [choose(logits, 0.05, rng) for _ in range(200)]
    assert set(cold) == {1}
    assert choose(np.array([2.0, 2.0], dtype=np.float32), 0, rng) == 0


@pytest.mark.parametrize(
    ("tokens", "temperature", "message"),
    [(0, 0.0, "--tokens must be at least 1, got 0"), (3, -1.0, "--temperature must be 0 or more"),
     (3, float("nan"), "--temperature must be 0 or more")],
)
def test_bad_options_are_refused(
    text_backend: GoldenBackend, tokens: int, temperature: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(generate(text_backend, "a", tokens, temperature=temperature))
