"""A run cut into shares: every position once, with the state before it; and put together again."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim.cosim.job
import sim.cosim.shares
from mmfree.chip.sizing import design_for
from mmfree.contract.shape import ModelConfig
from sim.cosim.due import expect
from sim.cosim.job import Job, simulate_shares
from sim.cosim.run_folder import (
    Place,
    Result,
    Run,
    Sequence,
    note_position,
    read_due,
    read_run,
    write_result,
)
from sim.cosim.shares import (
    LONG_CYCLES,
    Share,
    cut_run,
    join_due,
    join_outcomes,
    number_of_shares,
)
from sim.cosim.verdict import Played, judge
from sim.simulators.runner import SimulationFailed
from tests.support.random_tapes import random_tape

CONFIG = ModelConfig(vocab_size=9, head_size=9, hidden_size=10, intermediate_size=14, num_layers=2)
TAPE = random_tape(np.random.default_rng(3), **CONFIG.to_dict())
STATE = np.random.default_rng(0).integers(-2000, 2000, (2, 10)).astype(np.int32)
ASKED = [
    Sequence(prompt=[3, 1, 7]),
    Sequence(prompt=[2, 7], generate=6),
    Sequence(prompt=[4, 4], state=STATE, generate=3, temperature=64, seed=5),
    Sequence(prompt=[1], state=STATE),
    Sequence(prompt=[5, 6], generate=1),
]
RUN = Run(design=design_for(TAPE, 16), sequences=ASKED)
DUE = expect(ASKED, [TAPE])
POSITIONS = [3, 7, 4, 1, 2]
COUNTED = {"beats": 2, "bursts": 3, "cycles": 5, "throttled": 1}


def outcome(share: Share, **values: Any) -> tuple[Result, list[Played]]:
    """What a faithful chip reports of a share."""
    result = Result(
        cycles=10 * share.positions,
        counters={"cycles": share.positions},
        seconds=float(share.positions),
        simulated_cycles=100,
        profile={"head": {"beats": share.positions}},
        ports=[COUNTED],
    )
    return replace(result, **values), share.due


@pytest.mark.parametrize("number", range(1, 20))
def test_every_position_is_played_once_from_the_state_before_it(number: int) -> None:
    """What a share asks for gives what is due there: the golden model plays it."""
    shares = cut_run(RUN, DUE, number)
    assert len(shares) <= number
    assert sum(share.positions for share in shares) == sum(POSITIONS)
    # Each ends where the next begins; a sequence that draws is whole.
    places = [
        (piece.number, piece.first + position)
        for share in shares
        for piece in share.pieces
        for position in range(piece.due.positions)
    ]
    assert places == [(n, p) for n, count in enumerate(POSITIONS) for p in range(count)]
    assert sum(piece.number == 2 for share in shares for piece in share.pieces) == 1
    for share in shares:
        came = expect([piece.sequence for piece in share.pieces], [TAPE])
        assert judge(share.due, came).bit_exact
        for piece in share.pieces:
            assert piece.sequence.positions == piece.due.positions
            assert len(piece.due.final) == 1


@pytest.mark.parametrize("number", [1, 2, 5, 17])
def test_shares_are_put_together_to_the_run(number: int) -> None:
    shares = cut_run(RUN, DUE, number)
    result, played = join_outcomes(shares, [outcome(share) for share in shares])
    due = join_due(shares)
    assert judge(due, played).bit_exact
    for whole, each in zip(DUE, due, strict=True):
        for kind, values in whole.arrays().items():
            # The last request of a piece ends with it.
            if kind != "last":
                assert np.array_equal(values, each.arrays()[kind]), kind
    total = sum(POSITIONS)
    assert result.cycles == 10 * total
    assert result.counters == {"cycles": total}
    assert result.profile == {"head": {"beats": total}}
    assert result.ports == [{name: len(shares) * count for name, count in COUNTED.items()}]
    assert result.simulated_cycles == 100 * len(shares)
    assert result.seconds == max(share.positions for share in shares)
    assert result.divergence is None


def test_a_run_as_even_as_it_can_be() -> None:
    asked = [Sequence(prompt=[1] * 10)]
    shares = cut_run(replace(RUN, sequences=asked), expect(asked, [TAPE]), 4)
    assert [share.positions for share in shares] == [2, 3, 2, 3]
    assert [share.place for share in shares] == [
        f"sequence 0, position {first}" for first in (0, 2, 5, 7)
    ]


def test_a_stop_ends_the_last_piece() -> None:
    """By the token that stops, not by a number of tokens."""
    prompts = [Sequence(prompt=[a, b, c], generate=6) for a, b, c in product(range(9), repeat=3)]
    rows = [played.rows.tolist() for played in expect(prompts, [TAPE])]
    # Where the third chosen row is not among the first two.
    number = next(n for n, each in enumerate(rows) if each[4] not in each[2:4])
    stop = rows[number][4]
    asked = [replace(prompts[number], stop=stop)]
    due = expect(asked, [TAPE])
    assert due[0].positions == 5
    shares = cut_run(replace(RUN, sequences=asked), due, 3)
    for share in shares:
        assert judge(share.due, expect([p.sequence for p in share.pieces], [TAPE])).bit_exact
    *_, last = shares
    (piece,) = last.pieces
    assert piece.sequence.stop == stop
    assert piece.sequence.positions > piece.due.positions


def test_a_difference_ends_the_run_and_keeps_its_place() -> None:
    """What later shares play counts as not played."""
    shares = cut_run(RUN, DUE, 5)
    outcomes = [outcome(share) for share in shares]
    number, found = 2, shares[2].pieces[0]
    place = Place(sequence=0, position=1, token=3, begin=False, state=[[1]], segment="head")
    outcomes[number] = outcome(shares[number], divergence=place)
    outcomes[number][1][1:] = []
    result, played = join_outcomes(shares, outcomes)
    assert result.divergence is not None
    assert result.divergence["sequence"] == found.number
    assert result.divergence["position"] == found.first + 1
    assert place["sequence"] == 0, "what the share reported is as it was"
    verdict = judge(join_due(shares), played)
    assert not verdict.bit_exact
    positions = sum(share.positions for share in shares[:number]) + found.due.positions
    assert verdict.compared["rows"] == positions


def test_shares_run_in_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all files of the run; each asks for its own part, and one that fails says of which."""
    asked: list[Run] = []
    failing: list[str] = []

    def play(model: Any, module: str, folder: Path) -> None:
        if folder.name in failing:
            raise SimulationFailed("the chip hangs at sequence 0, position 0")
        assert (folder / "weights.hex").read_text() == "1"
        run, due = read_run(folder), read_due(folder)
        asked.append(run)
        note_position(folder)
        write_result(folder, Result(cycles=10, seconds=1.0, simulated_cycles=20), due)

    monkeypatch.setattr(sim.cosim.job, "build", lambda *arguments, **options: "built")
    monkeypatch.setattr(sim.cosim.job, "run", play)

    def job(name: str) -> Job:
        folder = tmp_path / name
        (folder / "inner").mkdir(parents=True)
        (folder / "weights.hex").write_text("1")
        return Job(folder, RUN, DUE, "verilator", processes=3)

    whole = job("a")
    played_job, result, played = simulate_shares(whole, whole.cut())
    assert judge(played_job.due, played).bit_exact
    assert result.cycles == 30
    prompts = [[sequence.prompt for sequence in run.sequences] for run in asked]
    expected = [[piece.sequence.prompt for piece in share.pieces] for share in whole.cut()]
    assert sorted(prompts) == sorted(expected)
    failing.append("share1")
    place = whole.cut()[1].place
    with pytest.raises(SimulationFailed, match=rf"hangs at .* \(counted from {place} on\)$"):
        simulate_shares(job("b"), whole.cut())


def test_only_long_runs_are_worth_several_simulators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.cosim.shares, "_cores", lambda: 3)
    positions = sum(POSITIONS)

    def shares(weight_words: int, **changes: Any) -> int:
        design = replace(RUN.design, weight_words=weight_words)
        return number_of_shares(replace(RUN, design=design, **changes), DUE)

    assert shares(-(-LONG_CYCLES // positions)) == 3
    assert shares(LONG_CYCLES // positions - 1) == 1
    assert shares(LONG_CYCLES, waveform_bytes=1) == 1
    monkeypatch.setattr(sim.cosim.shares, "_cores", lambda: 100)
    assert shares(LONG_CYCLES) == positions
    monkeypatch.undo()
    assert sim.cosim.shares._cores() >= 1
