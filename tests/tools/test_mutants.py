"""The list of mutants: enough of them, each applicable, with tests (`make mutants` runs them)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.prove import all_proofs
from tools.mutants import ROOT, Mutant, caught_by, load_mutants, main


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

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command[1:] == ["-m", "tests.prove", "--jobs", "1", "one", "two"]
        return subprocess.CompletedProcess(command, 1, stdout=printed)

    monkeypatch.setattr(subprocess, "run", run)
    assert caught_by(mutant) == caught


def test_a_choice_of_no_mutant_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mutants", "--only", "no such text"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "--only: no mutant holds 'no such text'" in capsys.readouterr().err


def test_mutants_reach_every_part() -> None:
    files = {Path(mutant["file"]) for mutant in load_mutants()}
    assert {path.parts[0] for path in files} == {"hdl", "mmfree", "sim", "tests"}
    rooms = ("golden/pow2", "golden/absmax", "chip/layout", "tape/container", "models/quantize")
    assert {Path(f"mmfree/{room}.py") for room in rooms} <= files
    assert len([path for path in files if path.parts[0] == "hdl"]) >= 15
