"""Distillation: the loss against a teacher, and runs that stop, go on or cannot begin with one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import mmfree.training.loop
from mmfree.errors import InputError
from mmfree.training.checkpoint import (
    MODEL_NAME,
    CheckpointError,
    load_kept_model,
    load_tensors,
    load_training_state,
)
from mmfree.training.folder import check_teacher, load_config, prepared
from mmfree.training.metrics import METRICS_NAME, read_rows
from mmfree.training.provenance import PROVENANCE_NAME, read_provenance
from mmfree.training.recipe import RunConfig
from mmfree.training.train import train
from tests.support.subwords import bpe
from tests.training.test_train import TINY, TINY_TEXT, same

CONFIGS = {"addition": TINY, "text": TINY_TEXT}
LARGER = {
    name: replace(config, model=replace(config.model, hidden_size=16), architecture=architecture)
    for (name, config), architecture in zip(
        CONFIGS.items(), ("matmul-free", "transformer"), strict=True
    )
}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of addition a MatMul-free one, of text a Transformer; and another of text."""
    folder = tmp_path_factory.mktemp("teachers")
    for name, config in LARGER.items():
        train(config, folder / name, seed=1)
    train(TINY_TEXT, folder / "other", seed=2)
    return folder


def with_recipe(config: RunConfig, **values: Any) -> RunConfig:
    return replace(config, recipe=replace(config.recipe, **values))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_learns_from_both(
    name: str, teachers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss and gradients are those of plain torch, from the batch that it took: a third of the
    cross-entropy against the teacher's probabilities, and two thirds of that against the text. What
    is reported is the text's.
    """
    config = with_recipe(CONFIGS[name], teacher_share=1 / 3, clip=1e9, accumulate=2)
    seen: dict[str, Any] = {}
    take = mmfree.training.loop.Run._batch
    clip = mmfree.training.loop.Accelerator.clip_grad_norm_

    def batch(run: Any) -> Any:
        seen["batch"] = take(run)
        seen["model"] = {key: value.clone() for key, value in run.own_model.state_dict().items()}
        return seen["batch"]

    def look(accelerator: Any, parameters: Any, most: float) -> Any:
        parameters = list(parameters)
        seen["gradients"] = [parameter.grad.clone() for parameter in parameters]
        return clip(accelerator, parameters, most)

    monkeypatch.setattr(mmfree.training.loop.Run, "_batch", batch)
    monkeypatch.setattr(mmfree.training.loop.Accelerator, "clip_grad_norm_", look)
    # After the trial steps that choose the number of threads.
    train(config, tmp_path / "run", teacher=teachers / name, stop_at=1)

    model = load_kept_model(tmp_path / "run", config)
    model.load_state_dict(seen["model"])
    teacher = load_kept_model(teachers / name, LARGER[name])
    ids, targets, mask = (
        torch.from_numpy(array)
        for array in (seen["batch"].ids, seen["batch"].targets, seen["batch"].mask)
    )
    logits = model(ids, mode="train")[0][mask]
    text = F.cross_entropy(logits, targets[mask])
    with torch.no_grad():
        expected = F.softmax(teacher(ids, mode="train")[0][mask], dim=-1)
    (text * (2 / 3) + F.cross_entropy(logits, expected) / 3).backward()
    for found, parameter in zip(seen["gradients"], model.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(found, parameter.grad, rtol=1e-3, atol=1e-6)
    ((_, loss, _),) = read_rows(tmp_path / "run" / METRICS_NAME)
    assert loss == pytest.approx(float(text.detach()), rel=1e-5)


def test_a_teacher_alone_is_imitated(teachers: Path, tmp_path: Path) -> None:
    """With all of the loss the learner comes to expect what the teacher expects."""
    config = with_recipe(TINY_TEXT, teacher_share=1, steps=60, learning_rate=2e-2)
    train(config, tmp_path / "run", teacher=teachers / "text")
    ids = torch.arange(32).reshape(2, 16)
    with torch.no_grad():
        expected = F.softmax(load_kept_model(teachers / "text", LARGER["text"])(ids)[0], dim=-1)
        apart = [
            float(F.kl_div(F.log_softmax(model(ids)[0], dim=-1), expected, reduction="batchmean"))
            for model in (
                load_kept_model(teachers / "other", TINY_TEXT),
                load_kept_model(tmp_path / "run", config),
            )
        ]
    assert apart[1] < 0.2 * apart[0]


def test_a_teacher_does_not_change(teachers: Path, tmp_path: Path) -> None:
    before = load_tensors(teachers / "text" / MODEL_NAME)
    train(TINY_TEXT, tmp_path / "run", teacher=teachers / "text")
    after = load_tensors(teachers / "text" / MODEL_NAME)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", "ignore:Dynamo detected:UserWarning"
)
def test_it_compiles_to_the_same_loss(teachers: Path, tmp_path: Path) -> None:
    config = with_recipe(TINY_TEXT, steps=2)
    losses = []
    for name, compiles in (("plain", False), ("compiled", True)):
        own = with_recipe(config, compile=compiles)
        train(own, tmp_path / name, teacher=teachers / "text")
        losses.append([row[1] for row in read_rows(tmp_path / name / METRICS_NAME)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_resumed_run_knows_its_teacher(teachers: Path, tmp_path: Path) -> None:
    """By itself, and wherever it lies now; the result is that of a run that never stopped."""
    whole, parts, moved = tmp_path / "whole", tmp_path / "parts", tmp_path / "moved"
    train(TINY_TEXT, whole, teacher=teachers / "text")
    train(TINY_TEXT, parts, teacher=teachers / "text", stop_at=3)
    train(TINY_TEXT, parts, resume=True, stop_at=6)
    moved.symlink_to(teachers / "text")
    train(TINY_TEXT, parts, resume=True, teacher=moved)
    assert same(whole, parts)
    record = read_provenance(whole)
    assert record is not None
    assert record.teacher == str(teachers / "text")
    assert load_training_state(whole).teacher == load_training_state(parts).teacher != ""


def test_a_run_is_resumed_with_its_own_teacher_alone(teachers: Path, tmp_path: Path) -> None:
    taught, alone = tmp_path / "taught", tmp_path / "alone"
    train(TINY_TEXT, taught, teacher=teachers / "text", stop_at=2)
    train(TINY_TEXT, alone, stop_at=2)
    before = load_training_state(taught)
    with pytest.raises(CheckpointError, match="trained by another teacher; resume with the same"):
        train(TINY_TEXT, taught, teacher=teachers / "other", resume=True)
    with pytest.raises(CheckpointError, match="trained without a teacher; leave --teacher out, or"):
        train(TINY_TEXT, alone, teacher=teachers / "other", resume=True)
    record = taught / PROVENANCE_NAME
    record.write_text(json.dumps(json.loads(record.read_text()) | {"teacher": ""}))
    with pytest.raises(CheckpointError, match=r"by a teacher: say with --teacher where it is$"):
        train(TINY_TEXT, taught, resume=True)
    after = load_training_state(taught)
    assert (after.step, after.teacher) == (before.step, before.teacher)


def test_training_further_is_with_the_teacher_that_is_given(teachers: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(with_recipe(TINY_TEXT, steps=2), run, teacher=teachers / "text")
    train(with_recipe(TINY_TEXT, steps=1), run, extend=True)
    record = read_provenance(run)
    assert record is not None
    assert (record.teacher, record.earlier[0]["teacher"]) == ("", str(teachers / "text"))
    assert load_training_state(run).teacher == ""
    train(with_recipe(TINY_TEXT, steps=1), run, extend=True, teacher=teachers / "other")
    assert load_training_state(run).teacher != ""


def test_a_teacher_that_cannot_teach_is_refused(teachers: Path, tmp_path: Path) -> None:
    subword = bpe()
    model = replace(TINY_TEXT.model, vocab_size=subword.vocab_size, head_size=subword.vocab_size)
    other = replace(TINY_TEXT, model=model, subword=subword.to_dict())
    longer = with_recipe(TINY_TEXT, length=17)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((teachers / "text" / "config.json").read_bytes())
    run = teachers / "other"
    for config, teacher, says in (
        (TINY_TEXT, tmp_path, "no checkpoint: config.json is missing"),
        (TINY_TEXT, teachers / "addition", "a teacher of task addition, and the run learns text"),
        (other, teachers / "text", "the teacher has another tokenizer, so what it expects is of"),
        (longer, teachers / "text", "that has learned 16 positions, fewer than the 17 of a window"),
        (TINY_TEXT, run, "a run cannot be its own teacher"),
        (TINY_TEXT, broken, "model.safetensors: missing; the checkpoint is incomplete"),
    ):
        with pytest.raises(CheckpointError, match=says):
            train(config, run, teacher=teacher, force=True)
        with (
            pytest.raises(CheckpointError, match=says),
            prepared(
                config,
                run,
                data=[],
                field=None,
                teacher=teacher,
                resume=False,
                extend=False,
                shard=False,
                tensorboard=False,
            ),
        ):
            pass
    assert load_config(run) == TINY_TEXT
    check_teacher(TINY_TEXT, tmp_path / "run", teachers / "text")
    # A MatMul-free one reads windows of any length.
    check_teacher(longer, tmp_path / "run", teachers / "other")


def test_a_damaged_teacher_is_refused_before_anything_is_written(
    teachers: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (bad / name).write_bytes((teachers / "text" / name).read_bytes())
    (bad / MODEL_NAME).write_bytes(b"x" * 50)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        train(TINY_TEXT, tmp_path / "run", teacher=bad)
    assert not (tmp_path / "run" / "config.json").exists()
