"""Threads: how they wait is chosen by measuring, and a resumed run has as many as it had."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mmfree.training.train
from mmfree import api
from mmfree.cli.main import main
from mmfree.threads import Waiting, as_many_threads, fastest_number, prepare_waiting
from mmfree.training.checkpoint import CheckpointError, load_training_state, save_state
from mmfree.training.train import train
from tests.training.test_train import TINY

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment, which is afterwards as it was."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


OURS = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"}


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "1000"}])
def test_a_user_who_says_how_threads_wait_is_heard(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    prepare_waiting()
    assert {name: os.environ[name] for name in OURS if name in os.environ} == given
    with as_many_threads(2):
        assert not Waiting("cpu").chooses


def test_every_verb_begins_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "parity"]) == 0
    assert {name: os.environ[name] for name in OURS} == OURS


def test_a_run_from_python_begins_with_it(tmp_path: Path) -> None:
    api.train("parity", tmp_path / "run", steps=1)
    assert {name: os.environ[name] for name in OURS} == OURS


def test_there_is_a_choice_only_with_several_threads_on_a_cpu() -> None:
    prepare_waiting()
    with as_many_threads(2):
        assert Waiting("cpu").chooses
        assert not Waiting("cuda").chooses
    with as_many_threads(1), Waiting("cpu") as waiting:
        assert not waiting.chooses
        for _ in range(9):
            waiting.step_took(1.0, 100.0)
        assert not waiting.brief


def ways(waiting: Waiting, steps: list[tuple[float, float]]) -> tuple[str, float]:
    """How each step waited, "b" briefly or "s" spinning, and how long all took.

    ``steps``: what each takes if threads spin, and if they wait briefly.
    """
    found, now = "", 100.0
    for spinning, brief in steps:
        seconds = brief if waiting.brief else spinning
        found += "b" if waiting.brief else "s"
        now += seconds
        waiting.step_took(seconds, now)
    return found, now - 100


@pytest.fixture
def two() -> Iterator[Waiting]:
    with as_many_threads(2), Waiting("cpu") as waiting:
        yield waiting


def test_an_idle_machine_spins(two: Waiting) -> None:
    """The first step, which is slow, does not count."""
    found, took = ways(two, [(9.0, 9.0), *[(0.1, 0.15)] * 299])
    assert found.startswith("bbssss")
    assert found.count("b") in range(5, 9), "a look every five seconds"
    assert took < 9 + 299 * 0.1 * 1.02


def test_a_busy_machine_waits_briefly(two: Waiting) -> None:
    found, took = ways(two, [(3.0, 0.4)] * 500)
    assert found.startswith("bbsbbb")
    assert found.count("s") in range(2, 5)
    assert took < 0.4 * 500 + 3 * 4


def test_a_machine_that_becomes_busy_or_idle_is_noticed(two: Waiting) -> None:
    found, _ = ways(two, [(0.1, 0.15)] * 100)
    assert found[-30:].count("b") < 3
    found, _ = ways(two, [(3.0, 0.4)] * 400)
    assert found[:4] == "sbbb", "at once"
    found, _ = ways(two, [(0.1, 0.15)] * 2000)
    assert found[-200:].count("b") < 9


def test_threads_that_make_others_wait_briefly_go_with_the_block() -> None:
    before = threading.active_count()
    with as_many_threads(2), Waiting("cpu") as waiting:
        assert waiting.brief
        assert threading.active_count() == before + 1
        for _ in range(2):
            waiting.step_took(60.0, 100.0)
        assert not waiting.brief
        assert threading.active_count() == before + 1, "the clock of a look at spinning"
    assert threading.active_count() == before
    assert not waiting.brief


def test_a_look_at_spinning_ends_within_a_step() -> None:
    with as_many_threads(2), Waiting("cpu") as waiting:
        for _ in range(2):
            waiting.step_took(0.05, 100.0)
        assert not waiting.brief
        end = time.monotonic() + 30
        while not waiting.brief and time.monotonic() < end:
            time.sleep(0.01)
        assert waiting.brief
        waiting.step_took(0.3, 100.4)
        assert waiting.brief


def test_the_way_to_wait_changes_no_bit() -> None:
    """Nor does a second team change the number of threads."""
    matrix = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    with as_many_threads(2), Waiting("cpu") as waiting:
        brief = matrix @ matrix
        for _ in range(2):
            waiting.step_took(60.0, 100.0)
        assert not waiting.brief
        assert torch.equal(matrix @ matrix, brief)
        assert torch.get_num_threads() == 2


def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    with as_many_threads(before + 2):
        assert torch.get_num_threads() == before + 2
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), as_many_threads(before + 2):
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.fixture
def of_three(tmp_path: Path) -> Path:
    """A run that was begun with three threads, as was chosen by trying its step."""
    folder, before = tmp_path / "run", torch.get_num_threads()

    def choose(step: Callable[[], object]) -> int:
        step()
        return 3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmfree.training.loop.fastest_number", choose)
        train(TINY, folder, stop_at=1)
    assert (load_training_state(folder).threads, torch.get_num_threads()) == (3, before)
    return folder


def test_trying_steps_changes_no_bit(of_three: Path, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed"
    with as_many_threads(3), pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmfree.training.loop.fastest_number", lambda step: 3)
        train(TINY, fixed, stop_at=1)
    model = "model.safetensors"
    assert (of_three / model).read_bytes() == (fixed / model).read_bytes()


def test_a_resumed_run_has_as_many_threads_as_it_had(
    of_three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = torch.get_num_threads(), []
    real = mmfree.training.train.build_model

    def build(config: object) -> torch.nn.Module:
        seen.append(torch.get_num_threads())
        return real(config)  # type: ignore[arg-type]

    monkeypatch.setattr(mmfree.training.train, "build_model", build)
    train(TINY, of_three, resume=True)
    assert (seen, torch.get_num_threads()) == ([3], before)
    assert load_training_state(of_three).threads == 3


def test_another_number_that_the_user_asks_for_is_refused(
    of_three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said = "trained with 3 threads, and OMP_NUM_THREADS is 1: sums would differ; leave it out"
    with as_many_threads(1), pytest.raises(CheckpointError, match=said):
        train(TINY, of_three, resume=True)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with as_many_threads(3):
        assert train(TINY, of_three, resume=True).step == 30


def test_checkpoints_of_earlier_versions_have_the_present_number(of_three: Path) -> None:
    save_state(of_three, replace(load_training_state(of_three), threads=0))
    train(TINY, of_three, resume=True, stop_at=2)
    assert load_training_state(of_three).step == 2


@pytest.mark.parametrize(
    ("seconds", "chosen", "tried"),
    [
        ({1: 0.4, 2: 0.3, 4: 0.2}, 4, 9),
        ({1: 0.21, 2: 0.3, 4: 0.2}, 1, 9),
        ({1: 0.23, 2: 0.21, 4: 0.2}, 2, 9),
        ({1: 1.2, 2: 0.95, 4: 0.9}, 2, 6),
        ({1: 1.0, 2: 9.0, 4: 99.0}, 1, 3),
    ],
)
def test_the_fewest_of_the_fastest_threads_are_taken(
    seconds: dict[int, float], chosen: int, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By steps of which the first, slow for reasons of its own, does not count."""
    now, steps = [0.0], [0]

    def step() -> None:
        now[0] += seconds[torch.get_num_threads()] if steps[0] else 1000.0
        steps[0] += 1

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("mmfree.threads.time.monotonic", lambda: now[0])
    with as_many_threads(4):
        assert (fastest_number(step), steps[0] - 1) == (chosen, tried)
        assert torch.get_num_threads() == 4
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        assert fastest_number(step) == 4, "what the environment asks for stays"
