"""Wrong calls of every verb: one line that says what to do, exit code 2, at once, nothing written.

All of them are made in one process, in which neither torch nor Amaranth can be imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmfree.cli.parser import VERBS
from tests.cli.wrong_calls import WRONG, write_files

ROOT = Path(__file__).parents[2]
AT_ONCE_S = 1.0
"""CPU time that a refusal may take: many times what it does."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each call."""
    folder = tmp_path_factory.mktemp("calls")
    write_files(folder)
    before = sorted(folder.rglob("*"))
    found = subprocess.run(
        [sys.executable, "-m", "tests.cli.wrong_calls"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(folder.rglob("*")) == before, "nothing half-written"
    lines = map(json.loads, found.stdout.splitlines())
    return dict(zip(WRONG, lines, strict=True))


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_call_is_one_line_at_once(line: str, told: dict[str, dict[str, Any]]) -> None:
    found = told[line]
    assert (found["code"], found["out"], len(found["err"])) == (2, "", 1), found
    assert found["err"][0].startswith("mmfree: error: ")
    assert WRONG[line] in found["err"][0]
    assert found["heavy"] == []
    assert found["seconds"] < AT_ONCE_S


def test_every_verb_is_called_wrongly() -> None:
    """With a word that is wrong, and with a file."""
    assert len(WRONG) >= 50
    for verb in VERBS:
        assert sum(line.startswith(f"{verb} ") for line in WRONG) >= 2, verb
