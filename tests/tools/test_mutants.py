"""The list of mutants: enough of them, each applicable, with tests (`make mutants` runs them)."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.prove import all_proofs
from tools.mutants import Mutant, caught_by, drawn, lacking, load_mutants, running
from tools.mutants.__main__ import main
from tools.mutants.drawn import draw
from tools.mutants.listed import ROOT


def test_every_mutant_applies_once_and_names_tests() -> None:
    mutants, proofs = load_mutants(), {proof.name for proof in all_proofs()}
    assert len(mutants) >= 30
    for mutant in mutants:
        text = (ROOT / mutant["file"]).read_text(encoding="utf-8")
        assert text.count(mutant["before"]) == 1, mutant
        assert mutant["before"] != mutant["after"]
        assert ("tests" in mutant) != ("proofs" in mutant), mutant
        for test in mutant.get("tests", ()):
            assert (ROOT / test.partition("::")[0]).is_file(), test
        assert set(mutant.get("proofs", ())) <= proofs, mutant
    once = {(m["file"], m["before"], m["after"], "proofs" in m) for m in mutants}
    assert len(once) == len(mutants)


def test_every_proof_has_a_mutant_that_it_must_refuse() -> None:
    caught = {name for mutant in load_mutants() for name in mutant.get("proofs", ())}
    assert caught == {proof.name for proof in all_proofs()}


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

    monkeypatch.setattr(running.subprocess, "Popen", Process)
    assert caught_by(mutant) == caught


def test_a_choice_of_no_mutant_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mutants", "--only", "no such text"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "--only: no mutant holds 'no such text'" in capsys.readouterr().err


def test_each_file_has_a_mutant_for_every_hundred_lines() -> None:
    assert lacking(load_mutants()) == {}


def test_a_file_without_mutants_is_named() -> None:
    few = [mutant for mutant in load_mutants() if mutant["file"] != "mmfree/golden/pow2.py"]
    assert lacking(few) == {"mmfree/golden/pow2.py": 3}


@pytest.mark.parametrize("whole", [False, True])
def test_tests_of_the_file_come_first_then_those_of_the_room(
    whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def passes(mutant: Mutant, root: Path, checks: list[str]) -> None:
        tried.append(checks[checks.index("not slow and not long") + 1 :])

    monkeypatch.setattr(running, "_refused", passes)
    mutant = Mutant(file="hdl/arithmetic/adder.py", before="total[1:]", after="total[2:]")
    assert caught_by(mutant, whole=whole) is None
    own, room = "tests/hdl/arithmetic/test_adder.py", "tests/hdl/arithmetic"
    assert tried == [[own], [room, "--ignore", own], *([["tests"]] if whole else [])]
    tried.clear()
    assert caught_by(Mutant(**mutant | {"tests": ["tests/test_api.py"]})) is None
    assert tried == [["tests/test_api.py"]]


def test_a_mutant_that_runs_for_ever_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    script = (
        "import pathlib, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"pathlib.Path({str(started)!r}).write_text(str(child.pid)); time.sleep(600)"
    )

    class Process(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__([sys.executable, "-c", script], **options)

    monkeypatch.setattr(running.subprocess, "Popen", Process)
    monkeypatch.setattr(running, "SECONDS", 5)
    assert caught_by(next(m for m in load_mutants() if "tests" in m)) == "(no end within 5 s)"
    child = int(started.read_text())
    status = Path(f"/proc/{child}/stat")
    for _ in range(100):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("a process of the mutant goes on")


def test_drawn_mutants_are_the_same_for_a_seed_and_apply() -> None:
    mutants = draw(40, 5)
    assert len(mutants) == 40
    assert draw(9, 5, "mmfree/golden/") == draw(9, 5, "mmfree/golden/")
    assert draw(9, 5, "mmfree/golden/") != draw(9, 6, "mmfree/golden/")
    assert {Path(mutant["file"]).parts[0] for mutant in mutants} == {"hdl", "mmfree", "sim"}
    for mutant in mutants:
        text = (ROOT / mutant["file"]).read_text(encoding="utf-8")
        assert text.count(mutant["before"]) == 1
        changed = text.replace(mutant["before"], mutant["after"])
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), mutant
    assert all(mutant["file"].startswith("mmfree/text/") for mutant in draw(9, 1, "mmfree/text/"))


def test_drawn_mutants_are_of_many_kinds() -> None:
    source = """
def give(values, *, start=0):
    '''Doc 1.'''
    if start < len(values) and values:
        raise ValueError(f"{start + 1}")
    values.append(start)
    total = min(values[start:]) + 1
    return total if start else sorted(values, key=abs)
"""
    lines = drawn.nodes_by_line(source).values()
    changes = [drawn.changes_of(*node) for nodes in lines for node in nodes]
    texts = {text for found in changes for _, text in found}
    assert texts >= {
        "(start <= len(values))",
        "(start < len(values) or values)",
        "(values)",
        "not (start < len(values) and values)",
        "False",
        "pass",
        "max(values[start:])",
        "(min(values[start:]) - 1)",
        "(min(values[start:]))",
        ":",
        "2",
        "0",
        "start",
        "sorted(values)",
        "list(values)",
        "(total)",
    }
    assert not any("Doc" in text or "start + 2" in text for text in texts)
