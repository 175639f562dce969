"""The loop by a clock that only steps move: speed, saves, plans by time, events, and stops."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmfree.training.loop
import mmfree.training.train
from mmfree.errors import ToolMissing
from mmfree.golden.pow2 import Golden
from mmfree.stopping import stop_requests
from mmfree.tasks.modular import examined_pairs, split_pairs
from mmfree.text.batch import Batch
from mmfree.training.checkpoint import TrainingState, load_checkpoint, load_training_state
from mmfree.training.export import export_tape
from mmfree.training.metrics import ACCURACY_NAME, METRICS_NAME, read_rows
from mmfree.training.presets import modular_model
from mmfree.training.recipe import RunConfig
from mmfree.training.train import train
from tests.training.test_train import TINY, same

FOLLOWED = RunConfig(
    model=replace(modular_model(), hidden_size=12, intermediate_size=16),
    recipe=replace(TINY.recipe, task="modular-addition", length=1, batch_size=8, steps=5),
)


def steps(config: RunConfig, number: int) -> RunConfig:
    return replace(config, recipe=replace(config.recipe, steps=number))


class Clock:
    """Seconds, of which every step takes ``step_s``; and the tokens that it reads."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s, self.tokens = 100.0, step_s, 0

    def batch(self, *arguments: object) -> Batch:
        self.now += self.step_s
        found = BATCH(*arguments)  # type: ignore[arg-type]
        self.tokens += found.ids.size
        return found


BATCH = mmfree.training.loop.training_batch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock(1.0)
    monkeypatch.setattr(mmfree.training.loop, "time", SimpleNamespace(monotonic=lambda: found.now))
    monkeypatch.setattr(mmfree.training.loop, "training_batch", found.batch)
    return found


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps at which the run was saved."""
    found: list[int] = []
    real = mmfree.training.loop.save_state

    def save(folder: Path, state: TrainingState) -> None:
        found.append(state.step)
        real(folder, state)

    monkeypatch.setattr(mmfree.training.loop, "save_state", save)
    return found


def test_speed_and_loss_are_those_of_the_steps(clock: Clock, tmp_path: Path) -> None:
    clock.step_s = 0.25
    result = train(steps(TINY, 60), tmp_path)
    assert result.tokens_per_second == pytest.approx(clock.tokens / 15)
    rows = read_rows(tmp_path / METRICS_NAME)
    assert result.loss == pytest.approx(np.mean([row[1] for row in rows[10:]]), rel=1e-12)
    again = train(steps(TINY, 60), tmp_path, resume=True)
    assert again.loss == pytest.approx(result.loss, rel=1e-12)
    assert (again.step, again.tokens_per_second) == (60, 0)


def test_a_killed_run_loses_half_a_minute_at_most(
    clock: Clock, saved: list[int], tmp_path: Path
) -> None:
    clock.step_s = 7.0
    train(steps(TINY, 17), tmp_path)
    assert saved == [5, 10, 15, 17], "35 seconds apart, for 28 are too few"


@pytest.mark.parametrize("extend", [False, True])
def test_minutes_become_steps_of_the_measured_length(
    extend: bool, clock: Clock, tmp_path: Path
) -> None:
    """Ten steps a minute, also where steps are counted on; the rate ends at the plan's end."""
    clock.step_s = 6.0
    if extend:
        train(steps(TINY, 5), tmp_path)
    done = 5 if extend else 0
    result = train(steps(TINY, 900), tmp_path, minutes=2.51, extend=extend)
    assert (result.steps, result.step) == (done + 25, done + 25)
    assert load_training_state(tmp_path).steps == done + 25
    rates = [row[2] for row in read_rows(tmp_path / METRICS_NAME)]
    assert rates[-1] == pytest.approx(5e-3 / 25)


@pytest.mark.parametrize(("number", "planned"), [(900, 20), (20, 20), (12, 12)])
def test_what_is_measured_is_trained_in_any_case(
    number: int, planned: int, clock: Clock, tmp_path: Path
) -> None:
    assert train(steps(TINY, number), tmp_path / "short", minutes=1e-9).step == planned
    if number <= 20:
        assert train(steps(TINY, number), tmp_path / "long", minutes=1e308).step == planned


def test_a_further_plan_is_measured_anew(clock: Clock, tmp_path: Path) -> None:
    train(steps(TINY, 5), tmp_path)
    assert train(steps(TINY, 900), tmp_path, minutes=1e-9, extend=True).step == 5 + 20


@pytest.mark.parametrize(
    ("first_s", "then_s", "done"), [(1.0, 5.0, 43), (3.0, 1.0, 72), (1.0, 0.25, 90)]
)
def test_the_plan_follows_the_present_speed(
    first_s: float, then_s: float, done: int, clock: Clock, tmp_path: Path
) -> None:
    """Two minutes, of a machine that becomes slower or faster after 24 steps."""
    batch = clock.batch
    made = 0

    def changing(*arguments: object) -> Batch:
        nonlocal made
        made += 1
        clock.step_s = first_s if made <= 24 else then_s
        return batch(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmfree.training.loop, "training_batch", changing)
        result = train(steps(TINY, 90), tmp_path, minutes=2)
    assert result.step == result.steps == load_training_state(tmp_path).steps
    assert result.step == done
    if done < 90:
        assert clock.now - 100 in (119, 120)
    rates = [row[2] for row in read_rows(tmp_path / METRICS_NAME)]
    assert rates[-1] == pytest.approx(5e-3 / done), "it reaches its end"


def test_a_resumed_run_keeps_the_last_plan(clock: Clock, tmp_path: Path) -> None:
    clock.step_s = 6.0
    train(steps(TINY, 900), tmp_path / "whole", minutes=4)
    train(steps(TINY, 900), tmp_path / "parts", minutes=4, stop_at=30)
    clock.step_s = 60.0
    assert train(steps(TINY, 900), tmp_path / "parts", resume=True).steps == 40
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_events_are_the_rows_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    writer = SimpleNamespace(
        add_scalar=lambda *values: told.append(values), close=lambda: told.append(("closed",))
    )
    monkeypatch.setattr(mmfree.training.train, "_events", lambda folder: writer)
    train(steps(TINY, 3), tmp_path, tensorboard=True)
    wanted: list[tuple[object, ...]] = []
    for step, loss, rate in read_rows(tmp_path / METRICS_NAME):
        wanted += [("loss", loss, step + 1), ("learning rate", rate, step + 1)]
    assert told == [*wanted, ("closed",)]


# Tasks whose examples are followed


def test_accuracies_are_the_golden_models(tmp_path: Path) -> None:
    config = replace(FOLLOWED, recipe=replace(FOLLOWED.recipe, steps=50, batch_size=64))
    train(config, tmp_path)
    loaded = load_checkpoint(tmp_path)
    golden = Golden(export_tape(loaded.model, {"kind": "modular-addition"}))
    shares = []
    for pairs in split_pairs():
        batch, state = examined_pairs(pairs), golden.state(len(pairs))
        for ids in batch.ids.T:
            logits, state = golden.step(ids, state)
        shares.append(float((logits.argmax(axis=1) == pairs.sum(axis=1) % 97).mean()))
    rows = read_rows(tmp_path / ACCURACY_NAME)
    assert [row[0] for row in rows] == [25, 50]
    assert rows[-1][1:] == pytest.approx(shares, rel=1e-12)
    assert shares[0] != shares[1]
    assert (tmp_path / ACCURACY_NAME).read_text().startswith("step,training,held_out\n25,")


FILES = (
    "metrics.csv",
    "accuracy.csv",
    "training.safetensors",
    "training.json",
    "tokenizer.json",
    "config.json",
    "model.safetensors",
)


def follow_few(patch: pytest.MonkeyPatch) -> None:
    """Score after every second step, on few pairs."""
    few = tuple(examined_pairs(pairs[:90]) for pairs in split_pairs())
    patch.setattr(mmfree.training.loop, "FOLLOW_STEPS", 2)
    patch.setattr(mmfree.training.loop, "followed_examples", lambda task: few)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        follow_few(patch)
        train(FOLLOWED, folder, seed=1)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    return folder


def assert_equal(one: Path, other: Path) -> None:
    """Every file, but for the state's own, of which the tensors count."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for path in one.iterdir():
        if path.name != "training.safetensors":
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    assert same(one, other)


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_no_row_of_accuracy_is_lost_or_twice(
    stop_at: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_few(monkeypatch)
    train(FOLLOWED, tmp_path / "run", seed=1, stop_at=stop_at)
    train(FOLLOWED, tmp_path / "run", seed=1, resume=True)
    assert_equal(tmp_path / "run", whole)
    assert [row[0] for row in read_rows(whole / ACCURACY_NAME)] == [2, 4]


@pytest.mark.parametrize(
    ("step", "name"),
    [*((2, name) for name in FILES), *((4, name) for name in (*FILES[:3], FILES[-1]))],
)
def test_a_kill_before_any_file_of_a_save_changes_nothing(
    step: int, name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first save of a resumed run, which writes all files, or of a later one."""
    folder = tmp_path / "run"
    follow_few(monkeypatch)
    train(FOLLOWED, folder, seed=1, stop_at=1)
    monkeypatch.setattr(mmfree.training.loop, "SAVE_SECONDS", -1.0)
    put, saves = os.replace, 1

    def killed(source: Path, target: Path) -> None:
        nonlocal saves
        saves += Path(target).name == METRICS_NAME
        if saves == step and Path(target).name == name:
            raise KeyboardInterrupt
        put(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        train(FOLLOWED, folder, seed=1, resume=True)
    monkeypatch.setattr(os, "replace", put)
    monkeypatch.setattr(mmfree.training.loop, "SAVE_SECONDS", 30.0)
    load_checkpoint(folder)
    assert load_training_state(folder).step in (step - 1, step)
    train(FOLLOWED, folder, seed=1, resume=True)
    assert_equal(folder, whole)


def test_events_need_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ToolMissing, match=r"--tensorboard: .*: `.*pip install .*\[tensorboard\]'`"):
        train(TINY, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


# Signals: the first is noted, the second acts as before, and nothing stays changed

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_acts(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    came: list[int] = []
    earlier = {one: signal.signal(one, lambda got, _: came.append(got)) for one in SIGNALS}
    handlers = {one: signal.getsignal(one) for one in SIGNALS}
    try:
        with stop_requests() as request:
            assert request.signal == 0
            signal.raise_signal(number)
            assert (request.signal, came) == (number, [])
            assert "stopping after this step, and saving" in capsys.readouterr().err
            # Whichever comes next.
            for second in SIGNALS:
                signal.raise_signal(second)
            assert (request.signal, came) == (number, [*SIGNALS])
        with pytest.raises(KeyError), stop_requests():
            raise KeyError
        assert {one: signal.getsignal(one) for one in SIGNALS} == handlers
        with stop_requests() as request:
            pass
        assert {one: signal.getsignal(one) for one in SIGNALS} == handlers
    finally:
        for one, handler in earlier.items():
            signal.signal(one, handler)


def test_a_terminal_that_is_closed_does_not_stop_the_save(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise OSError(5, "Input/output error")

        flush = write

    monkeypatch.setattr(sys, "stderr", Closed())
    with stop_requests() as request:
        signal.raise_signal(signal.SIGTERM)
    assert request.signal == signal.SIGTERM


def test_a_thread_takes_no_signals() -> None:
    found: list[object] = []

    def run() -> None:
        with stop_requests() as request:
            found.append((request.signal, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=30)
    assert found == [(0, before)]
