"""``mmfree bench``: which backends it measures, and what it refuses before it measures any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mmfree.cli.bench
from mmfree.cli.main import main
from mmfree.inference.native import library
from mmfree.inference.speed import Speed
from mmfree.tape.pow2 import write_tape
from tests.support.command_line import error_of, run_json
from tests.support.models import SMALL_ADDITION, tape_of, trained


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """Instead of measuring: backends and threads that are asked for."""
    asked: list[tuple[str, int | None]] = []

    def measure(backend: Any, seconds: float) -> Speed:
        player = getattr(backend, "player", None)
        asked.append((backend.name, player and (player.automatic or player.threads)))
        return Speed(
            backend=backend.name, decode_tokens_per_second=1.0, prompt_tokens_per_second=2.0
        )

    monkeypatch.setattr(mmfree.cli.bench, "measure_speed", measure)
    for module in (library, mmfree.cli.bench):
        monkeypatch.setattr(module, "allowed_threads", lambda: 2)
    return asked


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL_ADDITION, tmp_path_factory.mktemp("run"))


def test_all_that_play_are_measured(
    run: Path, tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    integers = [("golden", None), ("cpu", 1), ("cpu", True)]
    write_tape(tape_of(run), tmp_path / "a.tape")
    assert main(["bench", str(tmp_path / "a.tape")]) == 0
    assert measured == integers
    measured.clear()
    exported: list[Path] = []
    monkeypatch.setattr(
        mmfree.cli.bench,
        "load_tape_or_export",
        lambda path: exported.append(path) or tape_of(run),
    )
    assert main(["bench", str(run)]) == 0
    assert measured == [("float", None), ("fakequant", None), *integers]
    assert not exported, "the tape that golden plays is there already"
    measured.clear()
    assert main(["bench", str(run), "--backend", "cpu", "--threads", "2"]) == 0
    assert measured == [("cpu", 2)]
    assert exported == [run]


def test_without_its_library_cpu_is_left_out(
    run: Path, tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tape(tape_of(run), tmp_path / "a.tape")
    monkeypatch.setattr(mmfree.cli.bench, "tape_player", lambda: "golden")
    assert main(["bench", str(tmp_path / "a.tape")]) == 0
    assert measured == [("golden", None)]


def test_what_cannot_be_measured_is_refused_at_once(
    run: Path,
    tmp_path: Path,
    measured: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_tape(tape_of(run), tmp_path / "a.tape")
    for words, message in {
        "--threads 3": "--threads must lie in 1..2, the processors that there are, got 3",
        "--backend golden --threads 1": "--threads: of backend cpu alone; name it, or leave",
        "--backend float,cpu": "backend float needs the checkpoint folder",
        "--lanes 64": "only the simulated chip has lanes",
        "--seconds 0": "--seconds must be above 0, got 0 seconds",
    }.items():
        assert message in error_of(capsys, "bench", tmp_path / "a.tape", *words.split())
    monkeypatch.setenv(library.PATH_VARIABLE, "avx3")
    assert "MMFREE_CPU_PATH must be one of" in error_of(capsys, "bench", tmp_path / "a.tape")
    monkeypatch.delenv(library.PATH_VARIABLE)
    write_tape(replace(tape_of(run), tokenizer={"kind": "none"}), tmp_path / "b.tape")
    assert "b.tape: the tape has no tokenizer" in error_of(capsys, "bench", tmp_path / "b.tape")
    assert not measured


def test_a_small_model_is_measured(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tape(tape_of(run), tmp_path / "a.tape")
    words = ("--backend", "cpu", "--threads", 1, "--seconds", 0.01)
    (found,) = run_json(capsys, "bench", tmp_path / "a.tape", *words)["results"]
    assert (found["backend"], found["threads"], found["automatic"]) == ("cpu", 1, False)
    assert found["decode_tokens_per_second"] > 0
