"""Stages on stderr: named when they begin, counted in seconds where somebody watches."""

from __future__ import annotations

import io
import sys
import threading

import pytest

import mmfree.cli.progress
from mmfree.cli.progress import Stages, stage


class Terminal(io.StringIO):
    """Somebody watches."""

    def isatty(self) -> bool:
        return True


def nobody_counts() -> bool:
    return not any(thread.name == "mmfree stage" for thread in threading.enumerate())


def test_without_a_terminal_a_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Stages() as say:
        say("first")
        say("second")
    assert capsys.readouterr() == ("", "first ...\nsecond ...\n")


def test_in_a_terminal_each_stage_keeps_a_line_with_its_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with Stages() as say:
        say("first")
        say("second")
    assert nobody_counts()
    lines = [line.rpartition("\r")[2].strip() for line in shown.getvalue().split("\n")]
    assert lines == ["first ... 0.0 s", "second ... 0.0 s", ""]


def test_a_stage_counts_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    monkeypatch.setattr(mmfree.cli.progress, "_TICK_S", 0.01)
    with stage("waiting"):
        while shown.getvalue().count("waiting") < 4:
            pass
    assert shown.getvalue().endswith("\n")


def test_what_fails_ends_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ValueError, match="no"), stage("failing"):
        raise ValueError("no")
    assert nobody_counts()


def test_no_stage_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with Stages():
        pass
    assert capsys.readouterr().err == ""
