"""``mmfree page``: what it takes, and what it writes beside what was there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import sim.page.page
from mmfree.shipped import card_of
from mmfree.tape.pow2 import write_tape
from tests.support.command_line import error_of, run_json
from tests.support.verbs.case import SUM_TAPE


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Instead of compiling: what pages are asked for."""
    asked: list[dict[str, Any]] = []

    def page_of(tape: Any, name: str, design: Any, *, card: str, progress: Any) -> bytes:
        asked.append({"name": name, "lanes": design.lanes, "card": card})
        return b"page"

    monkeypatch.setattr(sim.page.page, "page_of", page_of)
    return asked


def test_stories_has_its_name_and_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pages: list[dict[str, Any]]
) -> None:
    out = tmp_path / "stories.html"
    values = run_json(capsys, "page", "stories", "--out", out)
    assert (values["bytes"], values["lanes"], out.read_bytes()) == (4, 256, b"page")
    assert pages == [{"name": "stories", "lanes": 256, "card": card_of("stories")}]
    assert "exists already; --force" in error_of(capsys, "page", "stories", "--out", out)
    run_json(capsys, "page", "stories", "--out", out, "--force", "--lanes", 16)
    assert [page["lanes"] for page in pages] == [256, 16]


def test_a_tape_has_the_name_of_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pages: list[dict[str, Any]]
) -> None:
    write_tape(SUM_TAPE, tmp_path / "sums.tape")
    run_json(capsys, "page", tmp_path / "sums.tape", "--out", tmp_path / "a.html")
    assert pages == [{"name": "sums", "lanes": 64, "card": ""}]


def test_a_tape_in_a_run_has_the_name_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pages: list[dict[str, Any]]
) -> None:
    (tmp_path / "sums").mkdir()
    write_tape(SUM_TAPE, tmp_path / "sums" / "model.tape")
    for number, model in enumerate((tmp_path / "sums" / "model.tape", tmp_path / "sums")):
        run_json(capsys, "page", model, "--out", tmp_path / f"{number}.html")
    assert [page["name"] for page in pages] == ["sums", "sums"]


def test_what_is_no_file_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pages: list[dict[str, Any]]
) -> None:
    """Told at once, not after all was compiled."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        told = error_of(capsys, "page", "stories", "--out", tmp_path / name, "--force")
        assert told.endswith(f"{name}: not a file; give another --out")
    assert pages == []
    assert (tmp_path / "pipe").is_fifo()
