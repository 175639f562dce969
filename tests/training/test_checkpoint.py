"""Checkpoints: whole, or refused by the file's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from mmfree.training.checkpoint import (
    CONFIG_NAME,
    MODEL_NAME,
    CheckpointError,
    begin_checkpoint,
    load_checkpoint,
    load_training_state,
)
from mmfree.training.recipe import TOKENIZER_NAME, TRAINING_NAME
from mmfree.training.train import train
from tests.training.test_train import TINY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train(TINY, tmp_path, stop_at=2)
    return tmp_path


def test_a_folder_holds_what_the_readme_says(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "config.json",
        "metrics.csv",
        "model.safetensors",
        "tokenizer.json",
        "training.safetensors",
    ]
    assert json.loads((folder / CONFIG_NAME).read_text()) == TINY.to_dict()
    assert json.loads((folder / TOKENIZER_NAME).read_text()) == {"kind": "addition"}
    assert load_checkpoint(folder).config == TINY


def test_moments_are_kept(folder: Path) -> None:
    state = load_training_state(folder)
    assert (state.step, state.steps, state.seed, state.corpus) == (2, 30, 0, "")
    assert set(state.weights) == set(state.moments)
    assert all(float(moments["step"]) == 2 for moments in state.moments.values())


@pytest.mark.parametrize("name", [CONFIG_NAME, MODEL_NAME, TOKENIZER_NAME])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises((CheckpointError, ValueError), match=name):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", [CONFIG_NAME, MODEL_NAME, TOKENIZER_NAME])
@pytest.mark.parametrize("size", [0, 7, -1])
def test_a_truncated_file_is_named(folder: Path, name: str, size: int) -> None:
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[: size if size >= 0 else len(data) - 3])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_a_damaged_training_state_is_named(folder: Path) -> None:
    path = folder / TRAINING_NAME
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"training\.safetensors: damaged"):
        load_training_state(folder)


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    path = folder / MODEL_NAME
    tensors = load(path.read_bytes())
    name = "head.weight"
    assert name in tensors
    path.write_bytes(save({key: value for key, value in tensors.items() if key != name}))
    with pytest.raises(
        CheckpointError, match=r"tensor head\.weight of shape \(10, 12\) is missing"
    ):
        load_checkpoint(folder)
    path.write_bytes(save({**tensors, "extra": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"unexpected tensor extra of shape \(2,\)"):
        load_checkpoint(folder)
    path.write_bytes(save({**tensors, name: torch.zeros(10, 13)}))
    with pytest.raises(
        CheckpointError, match=r"head\.weight has shape \(10, 13\), the config needs \(10, 12\)"
    ):
        load_checkpoint(folder)


def test_a_config_of_another_shape_is_refused(folder: Path) -> None:
    other = replace(TINY, model=replace(TINY.model, intermediate_size=20))
    (folder / CONFIG_NAME).write_text(json.dumps(other.to_dict()))
    with pytest.raises(CheckpointError, match="the config needs"):
        load_checkpoint(folder)


def test_weights_go_before_the_config_of_another_model_comes(folder: Path) -> None:
    """A kill right behind the new config finds no old weights beside it.

    The same config leaves them.
    """
    begin_checkpoint(folder, TINY)
    load_checkpoint(folder)
    other = replace(TINY, recipe=replace(TINY.recipe, steps=99))
    begin_checkpoint(folder, other)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: missing; the checkpoint is incomplete"
    ):
        load_checkpoint(folder)
