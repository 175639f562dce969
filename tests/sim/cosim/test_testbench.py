"""The comparer itself: errors planted in a chip, and the verdict and the place that each must get.

The golden model plays for the simulator (tests/support/sim/golden_chip.py), so that every error is
exactly the one that was planted.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim.cosim.job
import sim.cosim.run
import sim.tracing.profile
from mmfree.chip.exchange import COUNTERS, CYCLE_COUNTERS
from mmfree.chip.sizing import design_for
from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.host.interface import Fault, Request, Result
from sim.cosim.chip_folder import ChipFolder
from sim.cosim.due import expect
from sim.cosim.progress import progress_bar
from sim.cosim.run import CosimResult, Sequence, Traffic, cosim, cosim_folder
from sim.cosim.run_folder import note_position
from sim.simulators.runner import SimulationFailed, SimulatorError
from sim.tracing.profile import Profiler
from tests.support.random_tapes import random_tape
from tests.support.sim.golden_chip import CYCLES, GoldenChip, Plant, install
from tests.support.sim.pins import Pins, until_the_end

CONFIG = ModelConfig(vocab_size=9, head_size=9, hidden_size=10, intermediate_size=14, num_layers=2)
"""Two layers of 10 channels, of which each takes 12 in the chip: whole row blocks."""

TAPES = [random_tape(np.random.default_rng(seed), **CONFIG.to_dict()) for seed in (3, 4)]
DESIGN = design_for(TAPES[0], 16)
STATE = np.random.default_rng(0).integers(-2000, 2000, (2, 10)).astype(np.int32)
ASKED = [
    Sequence(prompt=[3, 1]),
    Sequence(prompt=[2, 7], generate=4, temperature=64, seed=5),
    Sequence(prompt=[4], state=STATE),
]
"""8 positions: 0 and 1, 2 to 6, 7."""

WORDS = 9 + 20
"""Logits and state of a position."""


def play(**options: Any) -> CosimResult:
    return cosim(TAPES, DESIGN, ASKED, **options)


def test_the_chips_channels_are_padded() -> None:
    assert DESIGN.rows == 4
    assert DESIGN.post_width < 4, "a word of the state is part of a row block"


def test_a_faithful_chip_is_bit_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = install(monkeypatch)
    result = play(profile=False, seed=3)
    assert result.bit_exact, result.divergence
    assert (result.tokens, result.compared, result.due) == (8, 8 * WORDS, 8 * WORDS)
    due = expect(ASKED, TAPES)
    assert result.rows == [played.rows.tolist() for played in due]
    assert [values.tolist() for values in result.states] == [d.final[0].tolist() for d in due]
    assert np.array_equal(result.logits, np.concatenate([played.logits for played in due]))
    (chip,) = chips
    assert chip.resets == 1
    assert chip.sent == [
        Request(token=3, begin=True),
        Request(token=1, begin=False),
        Request(token=2, begin=True),
        Request(token=7, begin=False, temperature=64, limit=4),
        Request(token=4, begin=False),
    ]
    assert chip.seeded == [5], "only where something is drawn"
    assert chip.loaded == []


def test_what_a_run_reports_is_worked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    result = play()
    assert result.cycles_per_token == CYCLES["cycles"]
    assert set(result.counters) == set(COUNTERS)
    for name, count in CYCLES.items():
        assert result.counters[name] == 8 * count, name
    saturated = sum(played.saturations.sum(axis=0) for played in expect(ASKED, TAPES))
    assert [result.counters[f"saturated_{s}"] for s in SATURATION_SITES] == saturated.tolist()
    # Two layers: i, f, g, o of 10 x 10, gate and up of 14 x 10, down of 10 x 14; the head 9 x 10.
    weights = 2 * (4 * 100 + 3 * 140) + 90
    assert result.weights_per_token == weights
    assert result.lanes == 16
    assert result.lane_utilization == pytest.approx(weights / (16 * CYCLES["cycles"]))
    assert result.simulated_hz > 0
    assert result.profile is result.recording is None
    assert result.altered == ()


def test_models_are_loaded_when_a_sequence_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = install(monkeypatch)
    asked = [Sequence(prompt=[1, 2], model=model) for model in (0, 0, 1, 1, 0)]
    for loaded, loads in ((False, 2), (True, 3)):
        result = cosim(TAPES, DESIGN, asked, loaded=loaded)
        assert result.bit_exact, result.divergence
        assert len(chips[-1].loaded) == loads
        assert result.rows[0] == result.rows[1] == result.rows[4]
        assert result.tokens == 10
        assert not np.array_equal(result.states[0], result.states[2])


def test_weights_are_counted_of_the_model_that_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 and 1 positions, with twice as many layers in the second model."""
    install(monkeypatch)
    large = replace(CONFIG, num_layers=4)
    tapes = [TAPES[0], random_tape(np.random.default_rng(5), **large.to_dict())]
    asked = [Sequence(prompt=[1, 2, 3]), Sequence(prompt=[1], model=1)]
    result = cosim(tapes, design_for(tapes[1], 16), asked)
    assert result.bit_exact, result.divergence
    total = 3 * (2 * 820 + 90) + (4 * 820 + 90)
    assert result.weights_per_token == total // 4
    assert result.lane_utilization == pytest.approx(total / (16 * 4 * CYCLES["cycles"]))


def on(token: int, change: Plant) -> Plant:
    """Something wrong with one token of the run, counted from 0."""

    def plant(chip: GoldenChip) -> None:
        if chip.played == token:
            change(chip)

    return plant


def wrong_row(chip: GoldenChip) -> None:
    assert isinstance(chip.answer, Result)
    chip.answer = Result((chip.answer.row + 1) % 9, chip.answer.last)


def wrong_last(chip: GoldenChip) -> None:
    assert isinstance(chip.answer, Result)
    chip.answer = Result(chip.answer.row, not chip.answer.last)


def wrong_logit(chip: GoldenChip) -> None:
    chip.logits[8] ^= 1


def wrong_state(chip: GoldenChip) -> None:
    """One word of the deeper layer."""
    chip.state[chip.channels + 7] ^= 1 << 14


def wrong_counter(name: str) -> Plant:
    def change(chip: GoldenChip) -> None:
        chip.counted[f"saturated_{name}"] += 1

    return change


READ_OUT: dict[str, tuple[Plant, str, int]] = {
    "row": (wrong_row, "rows", 0),
    "last": (wrong_last, "last", 0),
    "logit": (wrong_logit, "logits", 8),
    "state": (wrong_state, "states", 10 + 7),
} | {
    site: (wrong_counter(site), f"saturated_{site}", index)
    for index, site in enumerate(SATURATION_SITES)
}


@pytest.mark.parametrize("token", [0, 4])
@pytest.mark.parametrize(("change", "vector", "index"), READ_OUT.values(), ids=READ_OUT)
def test_what_is_wrong_only_as_it_is_read(
    change: Plant, vector: str, index: int, token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a prompt and in a generated text."""
    install(monkeypatch, on(token, change))
    result = play()
    assert not result.bit_exact
    assert sum(result.verdict.differing.values()) == 1
    assert result.tokens == token + 1, "nothing is played after a difference"
    assert result.due == 8 * WORDS
    sequence, position = {0: (0, 0), 4: (1, 2)}[token]
    assert result.divergence is not None
    found = dict(result.divergence)
    assert found.pop("expected") != found.pop("got")
    due = expect(ASKED, TAPES)
    assert found == {
        "sequence": sequence,
        "position": position,
        "token": {0: 3, 4: int(due[1].rows[1])}[token],
        "begin": token == 0,
        "segment": "none",
        "vector": vector,
        "index": index,
        "cycle": None,
    }


def wrong_vector(segment: int, vector: str, index: int) -> Plant:
    """A vector's value is computed wrongly: its write shows it, and so does what is read out."""

    def change(chip: GoldenChip) -> None:
        chip.writes = [
            replace(w, value=w.value ^ 1)
            if (w.segment, w.vector, w.index) == (segment, vector, index)
            else w
            for w in chip.writes
        ]
        chip.logits[0] ^= 1

    return change


@pytest.mark.parametrize(
    ("segment", "vector", "index", "place"),
    [
        (0, "x", 9, ("embedding", "x", 9)),
        (1, "u", 0, ("layer 0 gates", "u", 0)),
        (4, "x", 3, ("layer 0 down", "x", 3)),
        (5, "state", 12 + 2, ("layer 1 gates", "state", 2)),
        (7, "u", 13, ("layer 1 glu", "u", 13)),
        (9, "logits", 8, ("head", "logits", 8)),
    ],
)
@pytest.mark.parametrize("token", [0, 5])
def test_a_value_that_is_computed_wrongly_is_located(
    segment: int,
    vector: str,
    index: int,
    place: tuple[str, str, int],
    token: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every time the token is played, as by a chip that is wired wrongly."""
    change = wrong_vector(segment, vector, index)
    install(monkeypatch, lambda chip: change(chip) if chip.played >= token else None)
    result = play()
    assert not result.bit_exact
    assert result.divergence is not None
    found = result.divergence
    assert (found["segment"], found["vector"], found["index"]) == place
    sequence, position = {0: (0, 0), 5: (1, 3)}[token]
    assert (found["sequence"], found["position"]) == (sequence, position)
    assert found["cycle"] == 10 * segment + index - (12 if vector == "state" else 0)
    # The token is played alone, from the state before it: what is expected is as in the run.
    due = expect(ASKED, TAPES)[sequence]
    if vector == "logits":
        assert found["expected"] == due.logits[position][index]
    if vector == "state":
        assert found["expected"] == due.states[position][1, 2]
    assert found["expected"] is not None
    assert found["got"] == found["expected"] ^ 1


def test_a_word_that_is_never_written_is_located(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(chip: GoldenChip) -> None:
        chip.writes = [w for w in chip.writes if (w.segment, w.vector, w.index) != (6, "x", 4)]
        wrong_state(chip)

    install(monkeypatch, change)
    result = play()
    assert result.divergence is not None
    found = result.divergence
    assert (found["segment"], found["vector"], found["index"]) == ("layer 1 output", "x", 4)
    assert found["got"] is found["cycle"] is None


def test_a_chip_that_hangs_when_the_token_is_repeated_has_differed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def plant(chip: GoldenChip) -> None:
        if chip.played == 1:
            wrong_row(chip)
        if chip.played == 2:
            chip.answer = None

    install(monkeypatch, plant)
    result = play()
    assert result.divergence is not None
    assert (result.divergence["segment"], result.divergence["vector"]) == ("none", "rows")


def test_a_state_that_is_not_cleared_is_found_where_a_sequence_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chips = install(monkeypatch)
    send = GoldenChip.send

    async def going_on(chip: GoldenChip, request: Request) -> None:
        await send(chip, replace(request, begin=request.begin and not chip.sent))

    monkeypatch.setattr(GoldenChip, "send", going_on)
    result = play()
    assert result.divergence is not None
    assert (result.divergence["sequence"], result.divergence["position"]) == (1, 0)
    assert result.tokens == 3
    assert len(chips) == 1


def test_a_state_that_changes_after_the_last_token_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every position was right, and the state that a caller goes on from is not."""
    install(monkeypatch)
    take = GoldenChip.take

    async def spoiling(chip: GoldenChip) -> None:
        await take(chip)
        if chip.played == 1:
            wrong_state(chip)

    monkeypatch.setattr(GoldenChip, "take", spoiling)
    result = play()
    assert not result.bit_exact
    assert result.verdict.differing["final"] == 1
    assert result.tokens == 2
    assert result.divergence is not None
    found = result.divergence
    assert (found["vector"], found["index"], found["segment"]) == ("final", 17, "none")
    assert (found["sequence"], found["position"], found["token"]) == (0, 1, 1)


@pytest.mark.parametrize(("segment", "name"), [(0, "embedding"), (9, "head"), (10, "10")])
def test_a_fault_is_no_token(segment: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segment 10: a chip that counts wrongly, too, is reported."""

    def change(chip: GoldenChip) -> None:
        chip.answer = Fault("weights", segment)

    install(monkeypatch, on(3, change))
    result = play()
    assert not result.bit_exact
    assert result.divergence == {
        "sequence": 1,
        "position": 1,
        "token": 7,
        "begin": False,
        "segment": name,
        "fault": "weights",
    }
    assert result.tokens == 3
    assert result.verdict.missing["rows"] == 5


@pytest.mark.parametrize("name", list(CYCLES))
def test_counters_that_do_not_add_up_are_no_result(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(chip: GoldenChip) -> None:
        chip.counted[name] += 1

    install(monkeypatch, on(4, change))
    with pytest.raises(SimulationFailed, match=r"sequence 1, position 2: \d+ cycles, but \d+ of"):
        play()


def test_a_chip_that_hangs_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(chip: GoldenChip) -> None:
        chip.answer = None

    install(monkeypatch, on(4, change))
    with pytest.raises(SimulationFailed, match="sequence 1, position 2: the chip gave no answer"):
        play()


@pytest.mark.parametrize(
    ("token", "recorded"),
    [
        (0, Sequence(prompt=[3])),
        (1, Sequence(prompt=[1], state=expect(ASKED, TAPES)[0].states[0])),
        (7, Sequence(prompt=[4], state=STATE)),
    ],
)
def test_the_token_that_differs_is_recorded_alone(
    token: int, recorded: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the state before it; what differed once need not differ again, which is said."""

    def plant(chip: GoldenChip) -> None:
        if len(chip.run.sequences) == len(ASKED) and chip.played == token:
            wrong_logit(chip)

    chips = install(monkeypatch, plant)
    path = tmp_path / "wave.vcd"
    result = play(waveform=path, profile=False)
    assert result.divergence is not None
    assert "state" not in result.divergence, "nobody reads thousands of numbers"
    (asked,) = chips[-1].run.sequences
    assert asked.prompt == recorded.prompt
    assert (asked.state is None) == (recorded.state is None)
    if recorded.state is not None:
        assert np.array_equal(asked.state, recorded.state)
    sequence, position = result.divergence["sequence"], result.divergence["position"]
    assert result.recording is not None
    assert result.recording.shows == (
        f"sequence {sequence}, position {position}, played alone, which then does not differ"
    )
    assert path.read_text() == "$date"


def test_the_model_that_differs_is_the_one_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TAPES[1].sha256
    chips = install(
        monkeypatch, lambda chip: wrong_logit(chip) if chip.tape.sha256 == other else None
    )
    asked = [Sequence(prompt=[1]), Sequence(prompt=[2], model=1)]
    result = cosim(TAPES, DESIGN, asked, waveform=tmp_path / "wave.vcd")
    assert [sequence.model for sequence in chips[-1].run.sequences] == [1]
    assert result.recording is not None
    assert result.recording.shows == "sequence 1, position 0, played alone"


def test_what_is_asked_for_reaches_the_testbench(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = install(monkeypatch)
    traffic = Traffic(idle=0.25, back_pressure=0.5, pause=0.125)
    play(seed=9, traffic=traffic, loaded=True)
    run = chips[-1].run
    assert (run.seed, run.traffic, run.loaded, run.profile) == (9, traffic, True, False)
    assert (run.design, run.waveform_bytes) == (DESIGN, 0)
    play()
    assert (chips[-1].run.seed, chips[-1].run.traffic, chips[-1].run.loaded) == (
        0,
        Traffic(),
        False,
    )


CHIP = ChipFolder(
    path=Path("chip"),
    design=DESIGN,
    tape=TAPES[0],
    files={"mmfree.v": b"// of what\nmodule\n", "tables.hex": b"// of what\n0\n"},
    altered=(),
)


def test_a_chips_folder_is_simulated_as_it_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verilog as it was written, less its first line, so that a simulation of it is found built."""
    chips = install(monkeypatch)
    asked = [Sequence(prompt=[3, 1])]
    result = cosim_folder(CHIP, asked, seed=4, simulator="icarus")
    assert result.bit_exact, result.divergence
    assert result.altered == ()
    assert (chips[-1].run.seed, chips[-1].run.sequences) == (4, asked)
    assert chips[-1].model["simulator"] == "icarus"
    assert (chips[-1].model["top"], chips[-1].model["trace"]) == ("mmfree", "")
    altered = replace(CHIP, altered=("mmfree.v",))
    result = cosim_folder(altered, asked, waveform=tmp_path / "a" / "wave.vcd")
    assert result.altered == ("mmfree.v",)
    assert chips[-1].model["trace"] == "vcd"
    assert chips[-1].model["simulator"] == "verilator"
    assert chips[-1].run.waveform_bytes == sim.cosim.run.WAVEFORM_BYTES == 1 << 30
    assert result.recording is not None
    assert (result.recording.num_bytes, result.recording.shows) == (5, "all 2 tokens")
    for chip, verilog in ((CHIP, b"module\n"), (altered, b"// of what\nmodule\n")):
        folder = tmp_path / "copy"
        folder.mkdir(exist_ok=True)
        chip.copy_to(folder)
        assert (folder / "mmfree.v").read_bytes() == verilog
        assert (folder / "tables.hex").read_bytes() == b"// of what\n0\n"
        assert (folder / "model0.tape").read_bytes() == TAPES[0].data


def test_only_verilog_that_was_altered_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)

    def fail(*arguments: object, **options: object) -> None:
        raise SimulatorError("no such port")

    monkeypatch.setattr(sim.cosim.job, "run", fail)
    for altered in ((), ("tables.hex",)):
        with pytest.raises(SimulatorError, match=r"^no such port$"):
            cosim_folder(replace(CHIP, altered=altered), [Sequence(prompt=[3])])
    with pytest.raises(InputError, match=r"mmfree\.v: altered, and cannot .*: no such port"):
        cosim_folder(replace(CHIP, altered=("mmfree.v",)), [Sequence(prompt=[3])])


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chips = install(monkeypatch)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "wave.vcd", Path("/proc/wave.vcd")):
        with pytest.raises(InputError, match=r"cannot be written .*; give --waveform another"):
            play(waveform=path)
        with pytest.raises(InputError, match="cannot be written"):
            cosim_folder(CHIP, [Sequence(prompt=[3])], waveform=path)
    assert not chips


def test_a_chip_that_differs_only_while_it_is_recorded_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chips = install(monkeypatch, lambda chip: wrong_row(chip) if chip.run.waveform_bytes else None)
    with pytest.raises(SimulatorError, match="differs while it is recorded, and did not before"):
        play(waveform=tmp_path / "wave.vcd")
    assert len(chips) == 2


def test_cycles_go_to_the_segment_in_which_they_were_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two tokens of three segments; the counters begin again with every token."""
    counted = [
        {"segment": 1, "cycles": 10, "beats": 0},
        {"segment": 2, "cycles": 40, "beats": 25},
        {"segment": 0, "cycles": 0, "beats": 0},
        {"segment": 1, "cycles": 11, "beats": 0},
        {"segment": 2, "cycles": 43, "beats": 26},
    ]
    # Of each edge that is waited for: the change of segment, and the clock after it.
    pins = Pins.scripted([entry for entry in counted for _ in range(2)])

    def read() -> dict[str, int]:
        return dict.fromkeys(CYCLE_COUNTERS, 0) | {
            name: getattr(pins, name).value for name in ("cycles", "beats")
        }

    monkeypatch.setattr(sim.tracing.profile, "FallingEdge", pins.edge)
    profiler = Profiler(pins, ["embedding", "gates", "head"], read)
    # The testbench closes a token when its result is there: before the next one begins.
    pins.before[5] = lambda: profiler.close(read() | {"cycles": 70, "beats": 50})
    until_the_end(profiler.watch())
    profiler.close(read() | {"cycles": 73, "beats": 52})
    found = {name: (counts["cycles"], counts["beats"]) for name, counts in profiler.cycles.items()}
    assert found == {
        "embedding": (10 + 11, 0),
        "gates": (30 + 32, 25 + 26),
        "head": (30 + 30, 25 + 26),
    }


def test_progress_is_shown_until_all_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions are counted by another process; nothing is shown where stderr is no terminal."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with progress_bar([tmp_path], 3):
        note_position(tmp_path)
        deadline = time.monotonic() + 10
        while "1/3" not in shown.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "1/3" in shown.getvalue(), "while it runs"
        note_position(tmp_path)
        note_position(tmp_path)
    last = shown.getvalue().rpartition("\r")[2]
    assert last.startswith("co-simulation: 100%")
    assert "3/3" in last
    assert "token" in last


def test_a_simulation_that_fails_ends_the_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with pytest.raises(ZeroDivisionError), progress_bar([tmp_path], 3):
        raise ZeroDivisionError
    assert shown.getvalue() == ""
    assert not [t for t in threading.enumerate() if "follow" in t.name]
