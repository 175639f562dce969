"""The list of mutants: enough of them, each applicable, with tests (`make mutants` runs them)."""

from __future__ import annotations

from tests.prove import all_proofs
from tools.mutants import lacking, load_mutants
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


def test_each_file_has_a_mutant_for_every_hundred_lines() -> None:
    assert lacking(load_mutants()) == {}


def test_a_file_without_mutants_is_named() -> None:
    few = [mutant for mutant in load_mutants() if mutant["file"] != "mmfree/golden/pow2.py"]
    assert lacking(few) == {"mmfree/golden/pow2.py": 3}
