"""Calls of the command line that tests share: one JSON object on success, one line on failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mmfree.cli.main import main


def run_json(
    capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0
) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == code
    output = capsys.readouterr().out
    assert output.count("\n") == 1, "one JSON object, and nothing else, on stdout"
    values: dict[str, Any] = json.loads(output)
    return values


def last_error_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """The last line on stderr, after those that name what was begun before."""
    assert main([*map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    *stages, last = captured.err.splitlines()
    assert all(stage.endswith(" ...") for stage in stages), captured.err
    assert last.startswith("mmfree: error: ")
    return last


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """The one line on stderr (progress bars are quiet: it is no terminal)."""
    assert main([*map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("mmfree: error: ")
    return lines[0]
