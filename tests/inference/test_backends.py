"""Backends: fake-quantized equals golden, on trained models."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmfree.inference.backends
from mmfree.contract.pow2 import GATES
from mmfree.errors import InputError
from mmfree.inference.backends import (
    BACKENDS,
    at_once,
    check_backend,
    load_backend,
    most_likely,
    run_in_parts,
)
from mmfree.inference.cpu import CpuBackend
from mmfree.inference.places import Place
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.tape.pow2 import write_tape
from mmfree.tape.reading import copy_tape
from mmfree.tasks.addition import draw_sums, sum_ids
from mmfree.text.loading import load_corpus
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.windows import streams
from mmfree.training.recipe import RunConfig
from tests.support.below import Below
from tests.support.integers.absmax_tapes import absmax_tape
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, tape_of, trained
from tests.support.verbs.case import SUM_TAPE, TEXT_TAPE


def inputs(config: RunConfig) -> np.ndarray:
    """Ids [B, T] of the model's own kind."""
    if config.recipe.task == "addition":
        return sum_ids(*draw_sums(np.random.default_rng(0), "random", 30, 8))
    return streams(load_corpus([]).validation[:2000]).ids


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("config", [SMALL_ADDITION, SMALL_TEXT], ids=["addition", "text"])
def test_every_logit_of_fakequant_equals_golden(
    config: RunConfig, gate: str, tmp_path: Path
) -> None:
    folder = trained(config, tmp_path, gate)
    ids = inputs(config)
    golden, fakequant = load_backend(folder, "golden"), load_backend(folder, None)
    assert (golden.name, fakequant.name) == ("golden", "fakequant")
    expected, _ = golden.run(ids, golden.state(len(ids)))
    logits, _ = fakequant.run(ids, fakequant.state(len(ids)))
    assert fakequant.fraction_bits == golden.fraction_bits == 9
    assert logits.dtype == expected.dtype == np.int32
    assert np.array_equal(logits, expected)
    floating = load_backend(folder, "float")
    nats, _ = floating.run(ids, floating.state(len(ids)))
    assert (nats.dtype, floating.fraction_bits) == (np.float32, 0)
    assert not np.array_equal(nats, expected * 2.0**-9)
    assert np.abs(nats - expected * 2.0**-9).mean() < 1.0


@pytest.mark.parametrize("name", ["float", "fakequant", "golden"])
def test_state_carries_from_one_call_to_the_next(name: str, tmp_path: Path) -> None:
    backend = load_backend(trained(SMALL_TEXT, tmp_path), name)
    ids = inputs(SMALL_TEXT)[:, :40]
    whole, _ = backend.run(ids, backend.state(len(ids)))
    first, state = backend.run(ids[:, :13], backend.state(len(ids)))
    second, _ = backend.run(ids[:, 13:], state)
    parts = np.concatenate([first, second], axis=1)
    if name == "float":
        assert np.allclose(parts, whole, atol=1e-4)
    else:
        assert np.array_equal(parts, whole)


def test_a_tape_is_played_by_cpu(tmp_path: Path) -> None:
    folder = trained(SMALL_ADDITION, tmp_path / "run")
    write_tape(tape_of(folder), tmp_path / "a.tape")
    backend = load_backend(tmp_path / "a.tape", None)
    assert isinstance(backend, CpuBackend)
    assert backend.tape.sha256 == tape_of(folder).sha256
    assert isinstance(load_backend(tmp_path / "a.tape", "golden"), GoldenBackend)
    with pytest.raises(InputError, match=r"a\.tape: backend float needs the checkpoint folder"):
        load_backend(tmp_path / "a.tape", "float")


def test_unknown_backends_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--backend must be one of float, fakequant, golden, cpu, rtl, got 'gpu'"
    ):
        load_backend(tmp_path, "gpu")


def test_the_chip_is_asked_for_with_its_lanes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tape, and of the tape that a checkpoint becomes."""
    write_tape(SUM_TAPE, tmp_path / "a.tape")
    chip = SimpleNamespace(name="rtl")
    (tmp_path / "config.json").write_text("{}")
    for path, given in ((tmp_path / "a.tape", {}), (tmp_path, {"load_tape_or_export": SUM_TAPE})):
        below = Below(monkeypatch)
        below.replace(
            {"sim.cosim.backend:load": chip}
            | {f"mmfree.inference.backends:{name}": tape for name, tape in given.items()}
        )
        assert load_backend(path, "rtl", 16) is chip
        assert chip.training == (path if path == tmp_path else None)
        assert below.asked["load(tape)"].sha256 == SUM_TAPE.sha256
        assert below.asked["load(lanes)"] == 16
    assert below.asked["load_tape_or_export(path)"] == tmp_path
    load_backend(tmp_path / "a.tape", "rtl")
    assert below.asked["load 2(lanes)"] == 64


def test_lanes_are_of_the_chip_alone(tmp_path: Path) -> None:
    write_tape(SUM_TAPE, tmp_path / "a.tape")
    for name in (None, "golden"):
        with pytest.raises(InputError, match="--lanes 16: only the simulated chip has lanes; give"):
            load_backend(tmp_path / "a.tape", name, 16)


class Watched:
    """A backend of 10 rows whose state is how many columns it has seen."""

    name, fraction_bits, end_ids, choosable = "watched", 0, (), None

    def __init__(self) -> None:
        self.tokenizer = AdditionTokenizer()
        self.states: list[int] = []

    def state(self, batch: int) -> int:
        return 0

    def run(self, ids: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        self.states.append(state)
        return np.repeat(ids[..., None], 10, axis=-1), state + ids.shape[1]


@pytest.mark.parametrize(
    ("most_logits", "most_positions", "widths"),
    [(1000, None, [10]), (60, None, [3, 3, 3, 1]), (1, None, [1] * 10), (1000, 4, [4, 4, 2])],
)
def test_parts_follow_one_another_and_hold_few_logits(
    most_logits: int,
    most_positions: int | None,
    widths: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two sequences of ten positions, ten rows each."""
    monkeypatch.setattr(mmfree.inference.backends, "LOGITS", most_logits)
    backend, ids = Watched(), np.arange(20).reshape(2, 10)
    parts = list(run_in_parts(backend, ids, most_positions=most_positions))
    starts = [sum(widths[:n]) for n in range(len(widths))]
    assert backend.states == starts
    assert [logits.shape for _, logits, _ in parts] == [(2, width, 10) for width in widths]
    assert np.array_equal(np.concatenate([logits[..., 0] for _, logits, _ in parts], 1), ids)
    assert [part.start for part, _, _ in parts] == starts
    assert [after for *_, after in parts] == [*starts[1:], 10]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_padding_is_never_the_most_likely(kind: type) -> None:
    backend = Watched()
    logits = np.array([[3, 9, 5], [-8, -1, -9]], dtype=kind)
    assert most_likely(backend, logits).tolist() == [1, 1]
    backend.choosable = np.array([True, False, True])
    assert most_likely(backend, logits).tolist() == [2, 0]


def test_what_does_not_play_a_model_is_refused_by_what_lies_there(tmp_path: Path) -> None:
    """Nothing is loaded for it; a run folder's tape may be played where its checkpoint is not."""
    (tmp_path / "config.json").write_text('{"model_type": "hgrn_bit"}')
    tape = tmp_path / "model.tape"
    published = Place(path=tmp_path, checkpoint=tmp_path)
    both = replace(published, tape=tape, run=True)
    for found, plays in (
        (Place(path=tape, tape=tape), {"golden", "cpu", "rtl"}),
        (published, {"float", "golden", "cpu", "rtl"}),
        (both, {"float", "golden", "cpu", "rtl"}),
    ):
        for name in BACKENDS:
            with nullcontext() if name in plays else pytest.raises(InputError, match=name):
                check_backend(found, name)


def test_golden_plays_a_small_tape_before_the_library_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text is there sooner than the library would be; whoever waits for more, waits for it."""
    write_tape(TEXT_TAPE, tmp_path / "a.tape")
    there = False
    monkeypatch.setattr(mmfree.inference.backends, "is_at_hand", lambda: there)
    assert at_once(tmp_path / "a.tape") == "golden"
    monkeypatch.setattr(
        mmfree.inference.backends, "SMALL_TAPE_BYTES", (tmp_path / "a.tape").stat().st_size - 1
    )
    assert at_once(tmp_path / "a.tape") is None
    monkeypatch.undo()
    there = True
    monkeypatch.setattr(mmfree.inference.backends, "is_at_hand", lambda: there)
    assert at_once(tmp_path / "a.tape") is None
    there = False
    assert at_once(trained(SMALL_TEXT, tmp_path / "run")) is None, "a checkpoint"
    folder = tmp_path / "published"
    folder.mkdir()
    copy_tape(absmax_tape(folder, {}), tmp_path / "b.tape")
    assert at_once(tmp_path / "b.tape") is None, "of the other arithmetic"
