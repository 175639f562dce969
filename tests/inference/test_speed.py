"""Speeds: what is measured, and that it is what generation does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmfree.inference import speed
from mmfree.inference.cpu import CpuBackend
from mmfree.inference.speed import best_rate, measure_speed, processor_name, rate_beyond_start
from mmfree.inference.tape_backends import GoldenBackend
from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE


def test_the_best_rate_is_of_few_or_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More is asked for while an eighth of the time is not used up."""
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    asked: list[int] = []

    def work(count: int) -> None:
        asked.append(count)
        # Others disturb from the fifth run on.
        clock[0] += (0.25 + 0.25 * count) * (1 if len(asked) < 5 else 2)

    assert best_rate(work, 8.0) == 4 / 1.25
    assert asked == [1, 2, 4, 4, 4, 4]
    asked.clear()
    assert best_rate(work, 0.1) == 2
    assert asked == [1, 1], "at least twice"


def test_the_start_of_a_simulation_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    asked: list[int] = []

    def work(count: int) -> None:
        asked.append(count)
        clock[0] += 3 + 0.25 * count

    assert rate_beyond_start(work, 1.5) == 4
    assert asked == [1, 2, 3, 5, 9]


def test_a_backend_writes_and_reads_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens one by one, although each would end a text; then whole prompts."""

    def five(work: Callable[[int], object], seconds: float) -> float:
        work(5)
        return 7.0

    for rate in ("best_rate", "rate_beyond_start"):
        monkeypatch.setattr(speed, rate, five)
    for tape in (TEXT_TAPE, SUM_TAPE):
        golden = GoldenBackend(tape)
        golden.end_ids = (0, *range(tape.config.head_size))
        positions: list[int] = []
        run = golden.run

        def counted(ids: Any, state: Any, run: Any = run, positions: Any = positions) -> Any:
            positions.append(ids.shape[1])
            return run(ids, state)

        monkeypatch.setattr(golden, "run", counted)
        found = measure_speed(golden, 0.02)
        assert (found.backend, found.threads, found.share_of_read) == ("golden", None, None)
        assert positions == [1] * 6 + [64] * 5, "and one to begin with"
        assert (found.decode_tokens_per_second, found.prompt_tokens_per_second) == (7, 7 * 64)


def test_a_chip_plays_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Chip(GoldenBackend):
        name = "rtl"

        def generate(self, prompt: list[int], tokens: int, **options: Any) -> list[int]:
            asked.append((len(prompt), tokens))
            return [0] * tokens

    monkeypatch.setattr(speed, "rate_beyond_start", lambda work, seconds: (work(5), seconds)[1])
    found = measure_speed(Chip(TEXT_TAPE), 3.0)
    assert asked == [(1, 1), (1, 5), (5, 1)]
    assert (found.decode_tokens_per_second, found.prompt_tokens_per_second) == (3, 3)


def test_the_fast_player_is_held_against_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    small = measure_speed(CpuBackend(TEXT_TAPE, 1), 0.02)
    # 16-row, 16-column blocks of 64 bytes: 4 d^2, 3 d I with I in two, and the head.
    assert small.weights_bytes == 64 * (4 + 6 + 16)
    assert (small.read_bytes_per_second, small.share_of_read) == (None, None)
    monkeypatch.setattr(speed, "WORTH_READING", 64 * (4 + 6 + 16))
    for threads in (1, None):
        found = measure_speed(CpuBackend(TEXT_TAPE, threads), 0.02)
        assert (found.threads, found.automatic, found.backend) == (1, threads is None, "cpu")
        assert found.read_bytes_per_second is not None
        assert found.weights_bytes is not None
        assert found.share_of_read == pytest.approx(
            found.decode_tokens_per_second * found.weights_bytes / found.read_bytes_per_second
        )


def test_the_processor_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Name 9000\n")
    monkeypatch.setattr(speed, "CPU_INFO", tmp_path / "cpuinfo")
    assert processor_name() == "A Name 9000"
    monkeypatch.setattr(speed, "CPU_INFO", tmp_path / "none")
    assert processor_name()
