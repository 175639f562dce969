"""The folder of a run: what one process writes there, the other reads, all of it and no more."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.chip.exchange import COUNTERS
from sim.cosim.due import expect
from sim.cosim.run_folder import (
    Place,
    Result,
    Run,
    Sequence,
    Traffic,
    note_position,
    positions_played,
    read_due,
    read_result,
    read_rows,
    read_run,
    read_tapes,
    write_result,
    write_rows,
    write_run,
    write_tapes,
)
from sim.cosim.verdict import Played, judge
from sim.memory.model import Behaviour
from tests.support.sim.shapes import ODD

DESIGN = ODD.design()
TAPES = [ODD.tape(seed, wild=False) for seed in range(11)]
STATE = np.random.default_rng(0).integers(-32768, 32768, (1, 20)).astype(np.int32)
SEQUENCE = Sequence(
    prompt=[3, 1], generate=4, temperature=64, seed=2**64 - 1, stop=2, state=STATE, model=3
)
RUN = Run(
    design=replace(DESIGN, weight_code="1.6"),
    sequences=[SEQUENCE, Sequence(prompt=[5])],
    seed=7,
    traffic=Traffic(idle=0.25, back_pressure=0.5, pause=0.125),
    profile=True,
    loaded=True,
    waveform_bytes=12,
    memory=Behaviour(
        base=4096,
        latency=(5, 6),
        withheld=1.5,
        address_withheld=2.5,
        seed=3,
        bus_ns=7.5,
    ),
    recorded=True,
)


def differs_in_all(values: Any, defaults: Any) -> None:
    """So a field that is not carried over is noticed."""
    for field in fields(values):
        assert getattr(values, field.name) != getattr(defaults, field.name), field.name


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    differs_in_all(replace(RUN, sequences=[]), Run(design=DESIGN, sequences=[SEQUENCE]))
    differs_in_all(replace(SEQUENCE, state=1), Sequence(prompt=[]))
    differs_in_all(RUN.traffic, Traffic())
    differs_in_all(RUN.memory, Behaviour())
    write_run(tmp_path, RUN)
    found = read_run(tmp_path)
    state = found.sequences[0].state
    assert state is not None
    assert state.dtype == np.int32
    assert np.array_equal(state, STATE)
    without = replace(found.sequences[0], state=None)
    assert [without, found.sequences[1]] == [replace(SEQUENCE, state=None), RUN.sequences[1]]
    assert replace(found, sequences=RUN.sequences) == RUN
    assert read_due(tmp_path) == []


@pytest.mark.parametrize(
    ("generate", "positions"), [(0, 3), (1, 3), (2, 4), (6, 8)], ids=lambda n: str(n)
)
def test_the_first_of_what_is_generated_needs_no_further_position(
    generate: int, positions: int
) -> None:
    assert Sequence(prompt=[1, 2, 3], generate=generate).positions == positions


def test_what_is_due_and_what_was_played_are_read_as_written(tmp_path: Path) -> None:
    due = expect([Sequence(prompt=[3, 1], generate=3), Sequence(prompt=[2])], TAPES)
    write_run(tmp_path, RUN, due)
    assert judge(due, read_due(tmp_path)).bit_exact
    assert [played.positions for played in read_due(tmp_path)] == [4, 1]
    place = Place(sequence=1, position=2, token=3, begin=True, state=[[1]], segment="head")
    result = Result(
        cycles=5,
        counters={name: n for n, name in enumerate(COUNTERS)},
        seconds=1.5,
        simulated_cycles=9,
        divergence=place,
        profile={"head": {"cycles": 3}},
        ports=[{"beats": 4}],
    )
    differs_in_all(result, Result())
    part = [due[0], Played.nothing(TAPES[0].config)]
    write_result(tmp_path, result, part)
    found = read_result(tmp_path)
    assert found is not None
    assert found[0] == result
    assert [played.arrays().keys() for played in found[1]] == [p.arrays().keys() for p in part]
    for one, other in zip(found[1], part, strict=True):
        for kind, values in one.arrays().items():
            assert values.dtype == other.arrays()[kind].dtype
            assert np.array_equal(values, other.arrays()[kind])


def test_a_run_finds_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    """Or a simulation that dies would be judged by the outcome of another."""
    assert read_result(tmp_path) is None
    assert positions_played(tmp_path) == 0
    write_result(tmp_path, Result(), [])
    write_rows(tmp_path, [4, 2])
    assert read_rows(tmp_path) == [4, 2]
    note_position(tmp_path)
    note_position(tmp_path)
    assert positions_played(tmp_path) == 2
    write_run(tmp_path, RUN)
    assert read_result(tmp_path) is None
    assert positions_played(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["due", "run.json"]


def test_an_outcome_is_there_only_when_all_of_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed between its two files leaves nothing to judge."""
    written: list[str] = []
    write_text = Path.write_text
    monkeypatch.setattr(
        Path,
        "write_text",
        lambda path, text: (written.append(path.name), write_text(path, text)),
    )
    save = np.save
    monkeypatch.setattr(
        np, "save", lambda file, array: (written.append(Path(file.name).name), save(file, array))
    )
    write_result(tmp_path, Result(), [])
    assert written == ["played", "result.json"]


def test_tapes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """More than ten: 10 does not come before 2."""
    write_tapes(tmp_path, TAPES)
    assert [tape.sha256 for tape in read_tapes(tmp_path)] == [tape.sha256 for tape in TAPES]
