"""Along the way: loss on held-out text, texts that are written, and the best model kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mmfree.training.loop
import mmfree.training.validation
from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.inference.generate import generate
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.text.corpus import Corpus
from mmfree.text.scores import negative_log_likelihood
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.checkpoint import load_checkpoint, load_tensors, load_training_state
from mmfree.training.export import export_tape
from mmfree.training.folder import MODEL_NAME
from mmfree.training.metrics import (
    SAMPLES_NAME,
    VALIDATION_HEADER,
    VALIDATION_NAME,
    Sample,
    best_step,
    read_rows,
    read_samples,
    write_samples,
)
from mmfree.training.train import train
from mmfree.training.validation import SAMPLE_TEMPERATURE, Validation
from tests.training.test_train import TINY, TINY_TEXT

BYTES = ByteTokenizer()

TOKENS = 24
"""Of a text that is written along the way, here."""


def corpus(held_out: bytes, num_bytes: int | None = None) -> Corpus:
    tokens = np.frombuffer(held_out, dtype=np.uint8)
    return Corpus("a.txt", tokens, tokens, len(held_out) if num_bytes is None else num_bytes)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short validation after every fourth step, and a text after every eighth."""
    monkeypatch.setattr(mmfree.training.validation, "VALIDATION_TOKENS", 96)
    monkeypatch.setattr(mmfree.training.validation, "SAMPLE_TOKENS", TOKENS)
    monkeypatch.setattr(mmfree.training.loop, "VALIDATION_STEPS", 4)
    monkeypatch.setattr(mmfree.training.loop, "SAMPLE_STEPS", 8)


def test_windows_are_spread_from_the_first_token_to_the_last() -> None:
    found = Validation(corpus(bytes(range(1, 36))), BYTES, length=10, rows=2)
    assert found.batch.targets.tolist() == [[*range(n, n + 10)] for n in (1, 13, 26)]
    assert found.batch.ids[:, 0].tolist() == [0, 0, 0]
    assert (found.batch.ids[:, 1:] == found.batch.targets[:, :-1]).all()
    many = Validation(corpus(b"ab" * 9000), BYTES, length=16, rows=2)
    assert many.batch.ids.shape == (96 // 16, 16)
    assert Validation(corpus(b"ab" * 9000), BYTES, length=5000, rows=2).batch.ids.shape[0] == 1


def test_the_loss_is_the_golden_models(tmp_path: Path) -> None:
    train(TINY_TEXT, tmp_path)
    model = load_checkpoint(tmp_path).model
    # Three bytes to a token, and start tokens, which are read and not scored.
    held_out = b"the cat\0sees\0birds " * 5
    scored = sum(byte > 0 for byte in held_out)
    found = Validation(corpus(held_out, 3 * scored), BYTES, length=19, rows=2)
    loss, bits_per_byte = found.score(model)
    golden = Golden(export_tape(model, {"kind": "bytes"}))
    state, nats, count = golden.state(5), 0.0, 0
    for ids, targets in zip(found.batch.ids.T, found.batch.targets.T, strict=True):
        logits, state = golden.step(ids, state)
        each = negative_log_likelihood(logits[:, None], targets[:, None], 9)[:, 0]
        nats, count = nats + float(each[targets > 0].sum()), count + int((targets > 0).sum())
    assert count == 5 * 17
    assert loss == pytest.approx(nats / count, rel=1e-6)
    assert bits_per_byte == pytest.approx(loss / math.log(2) / 3, rel=1e-9)


def test_without_a_token_to_score_there_is_no_number(tmp_path: Path) -> None:
    train(TINY_TEXT, tmp_path, stop_at=1)
    found = Validation(corpus(b"\0" * 20, 0), BYTES, length=10, rows=1)
    assert all(map(math.isnan, found.score(load_checkpoint(tmp_path).model)))


def test_a_text_is_what_generate_writes_from_the_same_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossy(monkeypatch, {4: 3.0, 8: 2.0, 12: 1.0})
    train(TINY_TEXT, tmp_path, seed=7)
    loaded = load_checkpoint(tmp_path)
    backend = GoldenBackend(export_tape(loaded.model, loaded.tokenizer.to_dict()))
    pieces = generate(backend, "", TOKENS, temperature=SAMPLE_TEMPERATURE, seed=7)
    wanted = "".join(text for text, _ in pieces)
    assert read_samples(tmp_path / SAMPLES_NAME)[-1] == Sample(12, wanted)
    assert len(wanted) > 5


def test_they_come_at_their_steps_and_at_the_end(tmp_path: Path) -> None:
    config = replace(TINY_TEXT, recipe=replace(TINY_TEXT.recipe, steps=10))
    train(config, tmp_path / "run")
    text = (tmp_path / "run" / VALIDATION_NAME).read_text()
    assert text.startswith(VALIDATION_HEADER + "\n4,")
    assert [row[0] for row in read_rows(tmp_path / "run" / VALIDATION_NAME)] == [4, 8, 10]
    assert [one.step for one in read_samples(tmp_path / "run" / SAMPLES_NAME)] == [8, 10]
    baseline = replace(config, architecture="transformer")
    train(baseline, tmp_path / "baseline")
    assert len(read_rows(tmp_path / "baseline" / VALIDATION_NAME)) == 3
    assert not (tmp_path / "baseline" / SAMPLES_NAME).exists(), "it is not played"
    train(replace(TINY, recipe=replace(TINY.recipe, steps=4)), tmp_path / "task")
    assert not (tmp_path / "task" / VALIDATION_NAME).exists()


def lossy(patch: pytest.MonkeyPatch, losses: dict[int, float]) -> None:
    """Validations whose losses are given, by the step."""
    steps = iter(losses.values())
    patch.setattr(Validation, "score", lambda self, model: (next(steps), 2.0))


def weights_after(step: int, folder: Path) -> dict[str, torch.Tensor]:
    """Of a run that is stopped there."""
    train(TINY_TEXT, folder, stop_at=step)
    return load_training_state(folder).weights


def assert_model(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    found = load_tensors(folder / MODEL_NAME)
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())


def test_the_best_model_is_kept_and_the_state_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, last = weights_after(8, tmp_path / "8"), weights_after(12, tmp_path / "12")
    assert not torch.equal(best["head.weight"], last["head.weight"])
    lossy(monkeypatch, {4: 3.0, 8: 1.0, 12: 1.0})
    result = train(TINY_TEXT, tmp_path / "run")
    assert (result.step, result.best_step) == (12, 8), "of equals the first"
    assert_model(tmp_path / "run", best)
    assert torch.equal(
        load_training_state(tmp_path / "run").weights["head.weight"], last["head.weight"]
    )
    again = train(TINY_TEXT, tmp_path / "run", resume=True)
    assert again.best_step == 8
    assert_model(tmp_path / "run", best)


def test_before_a_validation_the_model_is_the_last(tmp_path: Path) -> None:
    assert_model(tmp_path / "run", weights_after(3, tmp_path / "run"))


@pytest.mark.parametrize("other", ["text", "length"])
def test_where_losses_do_not_compare_a_further_plan_has_a_best_of_its_own(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data, config = tmp_path / "run", None, TINY_TEXT
    if other == "text":
        (tmp_path / "text").write_bytes(bytes(range(97, 123)) * 60)
        data = [tmp_path / "text"]
    else:
        config = replace(config, recipe=replace(config.recipe, length=15))
    lossy(monkeypatch, {4: 1.0, 8: 0.5, 12: 1.0})
    assert train(TINY_TEXT, folder).replaced_best is None
    lossy(monkeypatch, {16: 5.0, 20: 4.0, 24: 4.5})
    train(config, folder, extend=True, data=data, stop_at=17)
    result = train(config, folder, resume=True)
    assert (result.step, result.best_step, result.replaced_best) == (24, 20, 8)
    rows = read_rows(folder / VALIDATION_NAME)
    assert [row[0] for row in rows] == [4, 8, 12, 16, 20, 24]
    assert not torch.equal(
        load_tensors(folder / MODEL_NAME)["head.weight"],
        load_training_state(folder).weights["head.weight"],
    )


@pytest.mark.parametrize("stop_at", [None, 13, 16, 17])
def test_on_the_same_text_the_best_so_far_stays_until_a_better_one(
    stop_at: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    lossy(monkeypatch, {4: 3.0, 8: 1.0, 12: 2.0})
    train(TINY_TEXT, folder)
    best = load_tensors(folder / MODEL_NAME)
    lossy(monkeypatch, {16: 1.5, 20: 1.0, 24: 1.25})
    result = train(TINY_TEXT, folder, extend=True, stop_at=stop_at)
    assert_model(folder, best)
    if stop_at is not None:
        result = train(TINY_TEXT, folder, resume=True)
    assert (result.step, result.best_step, result.replaced_best) == (24, 8, None)
    assert_model(folder, best)
    lossy(monkeypatch, {28: 0.5, 32: 1.5, 36: 1.5})
    assert train(TINY_TEXT, folder, extend=True).best_step == 28
    assert not torch.equal(load_tensors(folder / MODEL_NAME)["head.weight"], best["head.weight"])


def test_a_best_model_that_is_not_there_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossy(monkeypatch, {4: 3.0, 8: 1.0, 12: 2.0})
    train(TINY_TEXT, tmp_path)
    (tmp_path / MODEL_NAME).unlink()
    lossy(monkeypatch, {16: 5.0, 20: 4.0, 24: 4.5})
    assert train(TINY_TEXT, tmp_path, extend=True).best_step == 20


def test_a_kill_before_the_best_model_is_written_loses_nothing_when_trained_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossy(monkeypatch, {4: 3.0, 8: 2.0, 12: 1.0})
    train(TINY_TEXT, tmp_path)
    best = load_tensors(tmp_path / MODEL_NAME)
    (tmp_path / MODEL_NAME).write_bytes(b"of an earlier step")
    train(TINY_TEXT, tmp_path, extend=True, stop_at=13)
    assert_model(tmp_path, best)


@pytest.mark.parametrize("stop_at", [3, 4, 5, 8, 11])
def test_a_resumed_run_finds_the_same(stop_at: int, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(TINY_TEXT, whole, seed=2)
    train(TINY_TEXT, parts, seed=2, stop_at=stop_at)
    train(TINY_TEXT, parts, seed=2, resume=True)
    for name in (MODEL_NAME, VALIDATION_NAME, SAMPLES_NAME):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name


def test_a_kill_before_the_best_model_is_written_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    losses = {4: 3.0, 8: 1.0, 12: 2.0}
    with monkeypatch.context() as patch:
        lossy(patch, losses)
        train(TINY_TEXT, whole)
    with monkeypatch.context() as patch:
        lossy(patch, losses)
        train(TINY_TEXT, folder, stop_at=5)
        patch.setattr(mmfree.training.loop, "save_model", killed)
        lossy(patch, {8: 1.0})
        with pytest.raises(KeyboardInterrupt):
            train(TINY_TEXT, folder, resume=True)
    assert load_training_state(folder).step == 8
    with monkeypatch.context() as patch:
        lossy(patch, {12: 2.0})
        train(TINY_TEXT, folder, resume=True)
    assert (whole / MODEL_NAME).read_bytes() == (folder / MODEL_NAME).read_bytes()


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_texts_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / SAMPLES_NAME
    assert read_samples(path) == []
    samples = [Sample(3, 'a "b"\nc\u2028d'), Sample(6, "")]
    write_samples(path, samples)
    assert read_samples(path) == samples
    assert read_samples(path, 6) == samples[:1]
    for damaged in ('{"step": 3}', "[1]", "{", json.dumps({"step": "x", "text": ""})):
        path.write_text(damaged + "\n")
        with pytest.raises(InputError, match=r"samples\.jsonl: must hold a JSON object with step"):
            read_samples(path)


def test_what_has_no_loss_is_not_the_best() -> None:
    """NaN would stay the least of all."""
    rows = [(4, math.nan, math.nan), (8, 2.0, 1.0), (12, 1.5, 0.9), (16, 1.5, 0.9)]
    assert best_step(rows, 0, []) == 12
    assert best_step(rows, 12, []) == 16
    assert best_step(rows[:1], 0, []) is None
