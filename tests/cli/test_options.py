"""Every option of every verb reaches what does the work, and nothing else changes with it.

What is asked for and said is in tests/support/verbs/.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest

import mmfree.cli.demo
import mmfree.cli.tokenize
from mmfree.cli.main import main
from mmfree.cli.parser import build_parser
from mmfree.tape.pow2 import write_tape
from tests.support.below import Below
from tests.support.verbs import CASES
from tests.support.verbs.case import FILES, GONE, Case, Row
from tests.support.verbs.demo import PAGE

Asked = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with tapes, empty runs, a chip and a trained demo."""
    folder = tmp_path_factory.mktemp("place")
    for name, tape in FILES.items():
        write_tape(tape, folder / name)
    for name in ("run", "run2", "chip", "b", "made", "trained/checkpoint"):
        (folder / name).mkdir(parents=True)
    write_tape(FILES["text.tape"], folder / "chip" / "model.tape")
    (folder / "chip" / "design.json").touch()
    for name in ("run", "run2"):
        (folder / name / "config.json").touch()
    (folder / "trained" / "checkpoint" / "config.json").touch()
    (folder / PAGE).write_text("ten bytes.")
    return folder


@pytest.fixture
def ask(place: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asked]:
    """Runs a command line with the work replaced; its exit code, and what it asked for."""
    monkeypatch.chdir(place)

    def run(case: Case, *words: str) -> Asked:
        with monkeypatch.context() as patch:
            for module in (mmfree.cli.tokenize, mmfree.cli.demo):
                ticks = itertools.count(100, 2)
                patch.setattr(module, "time", SimpleNamespace(monotonic=ticks.__next__))
            below = Below(patch)
            below.replace(case.below)
            return main(list(words)), below.asked

    return run


def different(asked: dict[str, Any], wanted: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is asked for, and should be, where that is not the same."""
    names = asked | wanted
    pairs = {name: (asked.get(name, GONE), wanted.get(name, GONE)) for name in names}
    return {
        name: (found, due)
        for name, (found, due) in pairs.items()
        if found is not due and found != due
    }


@pytest.mark.parametrize("name", CASES)
def test_a_verb_asks_for_its_work_and_says_what_it_got(
    name: str, ask: Callable[..., Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    code, asked = ask(case, *case.words.split())
    assert (code, different(asked, case.asked)) == (case.code, {})
    assert capsys.readouterr().out == (f"{case.said}\n" if case.said is not ANY else ANY)
    code, asked = ask(case, *case.words.split(), "--json")
    assert (code, different(asked, case.asked)) == (case.code, {})
    assert json.loads(capsys.readouterr().out) == case.values


OPTIONS = [
    pytest.param(case, row, id=f"{name}: {option}")
    for name, case in CASES.items()
    for option, row in case.rows.items()
]


@pytest.mark.parametrize(("case", "row"), OPTIONS)
def test_an_option_changes_what_it_says_and_nothing_else(
    case: Case, row: Row, ask: Callable[..., Asked]
) -> None:
    assert bool(row.changes) != bool(row.why)
    words = [row.instead.get(word, word) for word in case.words.split()]
    code, asked = ask(case, *" ".join([*words, row.words]).split())
    assert (code, different(asked, case.asked | row.changes)) == (case.code, {})


def test_every_option_has_a_row() -> None:
    (verbs,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    missing = {
        f"{verb}: {action.dest}"
        for verb, parser in verbs.choices.items()
        for action in parser._actions
        if action.dest not in ("help", "json")
        and not any(action.dest in case.rows for case in CASES.values() if case.verb == verb)
    }
    assert not missing
