"""What runs against a mutant, in which order, and what counts as caught."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.mutants import Mutant, caught_by, load_mutants, running
from tools.mutants.listed import ROOT
from tools.mutants.processes import Processes
from tools.mutants.running import OF_THE_TEXT


@pytest.mark.parametrize(
    ("printed", "caught"),
    [
        ("FAILED      one   k = 1\nFAILED      two   k = 1\n", "one, two"),
        ("FAILED      one   k = 1\nproven      two   k = 1\n", None),
        ("FAILED      one   k = 1\nNOT PROVEN  two   k = 1\n", None),
        ("Traceback (most recent call last):\n", None),
    ],
    ids=["refused", "by one of two", "only not inductive", "a bug of ours"],
)
def test_each_proof_must_refuse_a_mutant_with_a_counterexample(
    printed: str, caught: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = next(mutant for mutant in load_mutants() if "proofs" in mutant)
    mutant = Mutant(**mutant | {"proofs": ["one", "two"]})

    class Process(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            assert command[1:] == ["-m", "tests.prove", "--jobs", "1", "one", "two"]
            super().__init__(
                [sys.executable, "-c", f"print({printed!r}); raise SystemExit(1)"], **options
            )

    monkeypatch.setattr(subprocess, "Popen", Process)
    assert caught_by(mutant) == caught


def test_what_catches_a_mutant_is_the_first_test_that_fails_and_no_line_of_a_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = (
        "ERROR    Runner:runner.py:674 ended\nERROR tests/a.py - E\nFAILED tests/b.py::c - E\n"
    )

    class Process(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__(
                [sys.executable, "-c", f"print({printed!r}); raise SystemExit(1)"], **options
            )

    monkeypatch.setattr(subprocess, "Popen", Process)
    assert caught_by(next(m for m in load_mutants() if "tests" in m)) == "tests/a.py"


@pytest.mark.parametrize("whole", [False, True])
def test_tests_of_the_file_come_first_then_those_of_the_room(
    whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def passes(mutant: Mutant, root: Path, checks: list[str], _: Processes) -> None:
        tried.append(checks[checks.index("not slow and not long") + 1 :])

    monkeypatch.setattr(running, "_refused", passes)
    mutant = Mutant(file="hdl/arithmetic/adder.py", before="total[1:]", after="total[2:]")
    assert caught_by(mutant, whole=whole) is None
    own, room = "tests/hdl/arithmetic/test_adder.py", "tests/hdl/arithmetic"
    everything = [["tests", *OF_THE_TEXT]] if whole else []
    assert tried == [[own], [room, *OF_THE_TEXT, f"--ignore={own}"], *everything]
    tried.clear()
    assert caught_by(Mutant(**mutant | {"tests": ["tests/test_api.py"]})) is None
    assert tried == [["tests/test_api.py"]]


def test_tests_of_the_text_are_there() -> None:
    """What is left out has its name: pytest takes any."""
    for option in OF_THE_TEXT:
        file, _, test = option.partition("=")[2].partition("::")
        assert (ROOT / file).exists(), option
        assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), option


def test_a_mutant_that_runs_for_ever_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__([sys.executable, "-c", "import time; time.sleep(60)"], **options)

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(running, "SECONDS", 0.1)
    assert caught_by(next(m for m in load_mutants() if "tests" in m)) == "(no end within 0.1 s)"
    assert caught_by(next(m for m in load_mutants() if "proofs" in m)) is None
