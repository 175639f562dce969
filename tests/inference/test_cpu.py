"""The fast player as a backend: the golden model's texts and scores, digit by digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.inference import cpu
from mmfree.inference.backends import load_backend
from mmfree.inference.cpu import CpuBackend
from mmfree.inference.generate import DrawsItself, generate
from mmfree.inference.scoring import evaluate_task, evaluate_text
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.tape.pow2 import Tape, write_tape
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained


@pytest.fixture(scope="module")
def text_tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    return tape_of(trained(SMALL_TEXT, tmp_path_factory.mktemp("text")))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 0.8, "seed": 5},
        {"temperature": 1.5, "seed": 6, "top_k": 9},
        {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 0.9, "stop": "e"},
    ],
    ids=str,
)
def test_texts_are_those_of_golden(options: dict[str, Any], text_tape: Tape) -> None:
    texts = [
        "".join(text for text, _ in generate(backend, "A function", 90, **options))
        for backend in (GoldenBackend(text_tape), CpuBackend(text_tape))
    ]
    assert texts[0] == texts[1]
    assert texts[0]


def test_a_text_comes_in_pieces_that_grow(text_tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a piece takes no time; on a slow machine every token is one."""
    backend = CpuBackend(text_tape)
    assert isinstance(backend, DrawsItself)
    counts: list[int] = []
    draw = backend.player.draw

    def watched(logits: Any, state: Any, count: int, *rest: Any, **options: Any) -> Any:
        counts.append(count)
        return draw(logits, state, count, *rest, **options)

    monkeypatch.setattr(backend.player, "draw", watched)
    assert len(list(backend.rows([1, 2], 100, 64, 1))) == 100
    assert sum(counts) == 100
    assert counts[0] == 1
    assert max(counts) > 1
    counts.clear()
    monkeypatch.setattr(cpu, "PIECE_SECONDS", 0)
    assert len(list(backend.rows([1, 2], 10, 64, 1))) == 10
    assert counts == [1] * 10


def test_scores_are_those_of_golden(text_tape: Tape, tmp_path: Path) -> None:
    text = b"def f(x):\n    return x + 1\n" * 40
    golden, fast = (
        evaluate_text(backend(text_tape), text) for backend in (GoldenBackend, CpuBackend)
    )
    assert fast.bits_per_byte == golden.bits_per_byte
    assert (fast.backend, golden.backend) == ("cpu", "golden")
    sums = tape_of(trained(SMALL_ADDITION, tmp_path / "run"))
    exact = [
        evaluate_task(backend(sums), "addition", digits=5, examples=20).exact
        for backend in (GoldenBackend, CpuBackend)
    ]
    assert exact[0] == exact[1]


def test_a_state_stays_what_it_was(text_tape: Tape) -> None:
    backend = CpuBackend(text_tape, threads=1)
    before = backend.state(2)
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    _, after = backend.run(ids, before)
    assert not before.any()
    assert after.any()


def test_it_is_loaded_by_its_name(text_tape: Tape, tmp_path: Path) -> None:
    write_tape(text_tape, tmp_path / "a.tape")
    backend = load_backend(tmp_path / "a.tape", "cpu")
    assert isinstance(backend, CpuBackend)
    with pytest.raises(ValueError, match="only the simulated chip has lanes"):
        load_backend(tmp_path / "a.tape", "cpu", lanes=64)
