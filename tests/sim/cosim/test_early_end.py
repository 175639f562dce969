"""A testbench that ends early, or reports too little, never gives a good verdict.

Another program stands for the simulator: it reports a part of what is due, all of it right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sim.cosim.job
import sim.cosim.run
from mmfree.errors import InputError
from sim.cosim.backend import DivergenceError, RtlBackend
from sim.cosim.run import CosimResult, cosim
from sim.cosim.run_folder import Result, Sequence, read_due, write_result
from sim.cosim.verdict import KINDS, Played
from sim.simulators.runner import SimulatorError
from tests.support.sim.shapes import ODD

TAPE, DESIGN = ODD.tape(5, wild=False), ODD.design()
ASKED = [Sequence(prompt=[3, 1]), Sequence(prompt=[2], generate=4)]
"""Six positions."""

Change = Callable[[list[Played]], list[Played]]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Makes the simulator report what is due, changed."""

    def install(change: Change) -> None:
        def run(model: object, module: str, folder: Path) -> None:
            write_result(folder, Result(cycles=9, seconds=1.0), change(read_due(folder)))

        monkeypatch.setattr(sim.cosim.job, "run", run)

    monkeypatch.setattr(sim.cosim.job, "build", lambda *arguments, **named: None)
    monkeypatch.setattr(sim.cosim.run, "write_chip", lambda *arguments, **named: None)
    return install


def without(kind: str) -> Change:
    """All, but the last values of a kind."""

    def change(due: list[Played]) -> list[Played]:
        *first, last = due
        return [*first, Played(**last.arrays() | {kind: last.arrays()[kind][:-1]})]

    return change


def play() -> CosimResult:
    return cosim([TAPE], DESIGN, ASKED)


def test_all_that_is_due_is_bit_exact(report: Callable[[Change], None]) -> None:
    report(lambda due: due)
    result = play()
    assert result.bit_exact
    assert (result.tokens, result.compared, result.due) == (6, 6 * 25, 6 * 25)
    assert len(result.logits) == 6
    assert len(result.states) == 2


@pytest.mark.parametrize(
    ("change", "tokens"),
    [
        (lambda due: [], 0),
        (lambda due: due[:1], 2),
        (lambda due: [due[0], due[1].part(0)], 3),
        (without("rows"), 5),
        (without("last"), 6),
        (without("logits"), 6),
        (without("states"), 6),
        (without("saturations"), 6),
        (without("final"), 6),
    ],
    ids=["nothing", "a sequence", "a token", *KINDS],
)
def test_less_is_not(report: Callable[[Change], None], change: Change, tokens: int) -> None:
    report(change)
    result = play()
    assert not result.bit_exact
    assert result.divergence is None
    assert result.tokens == tokens
    assert result.due == 6 * 25
    assert result.verdict.missing


def test_the_backend_refuses_logits_of_less(report: Callable[[Change], None]) -> None:
    report(without("final"))
    rtl = RtlBackend(replace(TAPE, tokenizer={"kind": "parity"}), lanes=ODD.lanes)
    with pytest.raises(DivergenceError, match="not compared: 20 state words after a sequence"):
        rtl.run(np.array([[3, 1, 2]]), rtl.state(1))


def test_a_simulation_that_reports_nothing_is_an_error(
    report: Callable[[Change], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    report(lambda due: due)
    monkeypatch.setattr(sim.cosim.job, "run", lambda *arguments: None)
    with pytest.raises(SimulatorError, match="reported nothing"):
        play()


def test_no_sequence_is_refused(report: Callable[[Change], None]) -> None:
    report(lambda due: due)
    with pytest.raises(InputError, match="at least one sequence to play, got none"):
        cosim([TAPE], DESIGN, [])
