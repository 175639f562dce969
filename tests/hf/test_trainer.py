"""``Trainer`` of transformers: what it trains on and predicts, and what it may ask for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
import torch
from accelerate.state import AcceleratorState
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorWithFlattening,
    Trainer,
    TrainingArguments,
)

from mmfree.hf import MatMulFreeForCausalLM

TEXTS = ("alpha beta", "gamma delta sun moon", "stone")
SMOOTHING = 0.1


@pytest.fixture(scope="module")
def model(folder: Path) -> MatMulFreeForCausalLM:
    loaded: MatMulFreeForCausalLM = AutoModelForCausalLM.from_pretrained(folder)
    return loaded


@pytest.fixture
def trainer(model: MatMulFreeForCausalLM, folder: Path, tmp_path: Path) -> Any:
    """Makes a Trainer of a copy of the model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [{"input_ids": tokenizer(text).input_ids} for text in TEXTS * 2]

    def make(options: dict[str, Any] | None = None, **others: Any) -> Trainer:
        arguments = {
            "per_device_train_batch_size": 3,
            "per_device_eval_batch_size": 4,
            "max_steps": 2,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
        }
        settings = TrainingArguments(str(tmp_path), **(arguments | (options or {})))
        others = {"data_collator": DataCollatorForLanguageModeling(tokenizer, mlm=False), **others}
        return Trainer(
            copy.deepcopy(model), settings, train_dataset=rows, eval_dataset=rows, **others
        )

    return make


@pytest.fixture(autouse=True)
def forget_settings() -> Iterator[None]:
    """accelerate keeps the first settings of a process, for whoever trains in it next."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def smoothed(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Cross entropy with labels of which a share is spread over all tokens."""
    nats = -torch.log_softmax(logits, dim=-1)
    right = nats.gather(-1, targets[:, None])[:, 0]
    return ((1 - SMOOTHING) * right + SMOOTHING * nats.mean(dim=-1)).mean().item()


def test_smoothed_labels_are_the_next_tokens(trainer: Any, model: MatMulFreeForCausalLM) -> None:
    ids = torch.tensor([[0, *b"alpha beta gamma"]])
    loss = trainer({"label_smoothing_factor": SMOOTHING}).compute_loss(
        model, {"input_ids": ids, "labels": ids.clone()}
    )
    logits = model(ids).logits[0]
    assert loss.item() == pytest.approx(smoothed(logits[:-1], ids[0, 1:]), rel=1e-5)
    assert loss.item() != pytest.approx(smoothed(logits, ids[0]), rel=1e-2), "not its own input"


def test_smoothing_trains_to_predict_and_not_to_copy(
    folder: Path, tmp_path: Path, model: MatMulFreeForCausalLM
) -> None:
    tuned, ids = copy.deepcopy(model), torch.tensor([0, *b"alpha beta gamma"])
    settings = TrainingArguments(
        str(tmp_path),
        label_smoothing_factor=SMOOTHING,
        max_steps=40,
        learning_rate=1e-2,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(tuned, settings, train_dataset=[{"input_ids": ids, "labels": ids}] * 8).train()
    said = tuned.eval()(ids[None]).logits[0].argmax(-1)
    assert (said[:-1] == ids[1:]).float().mean() > 0.7
    assert (said == ids).float().mean() < 0.3


def test_predictions_are_logits_alone(trainer: Any) -> None:
    seen: list[Any] = []

    def keep(found: Any) -> dict[str, float]:
        seen.append(found.predictions)
        return {}

    made = trainer(compute_metrics=keep)
    made.evaluate()
    predicted = made.predict(made.eval_dataset).predictions
    for found in (*seen, predicted):
        assert isinstance(found, np.ndarray)
        assert found.shape == (6, 21, 256)


def test_packed_and_padded_batches_train_alike(trainer: Any) -> None:
    losses = []
    for collate in (None, DataCollatorWithFlattening()):
        made = trainer(
            {"train_sampling_strategy": "sequential"},
            **({} if collate is None else {"data_collator": collate}),
        )
        losses.append(made.train().training_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_noise_on_embeddings_is_refused(trainer: Any) -> None:
    with pytest.raises(InputError, match=r"a hook on model\.embedding .* neftune_noise_alpha"):
        trainer({"neftune_noise_alpha": 5.0}).train()


def test_checkpointing_of_activations_is_refused(trainer: Any) -> None:
    with pytest.raises(ValueError, match="does not support activation checkpointing"):
        trainer({"activation_checkpointing": True}).train()


def test_autocast_says_that_it_has_no_effect(
    trainer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import logging

    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    logging.warning_once.cache_clear()
    plain = trainer().train().training_loss
    assert "autocast" not in caplog.text
    assert trainer({"bf16": True}).train().training_loss == plain
    assert "autocast (bf16, fp16) has no effect on this model" in caplog.text
