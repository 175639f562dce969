"""Small checkpoints and tapes that tests share."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mmfree.contract.shape import ModelConfig
from mmfree.inference.backends import load_tape_or_export
from mmfree.tape.pow2 import Tape
from mmfree.training.recipe import Recipe, RunConfig
from mmfree.training.train import train

SMALL_ADDITION = RunConfig(
    model=ModelConfig(
        vocab_size=31, head_size=10, hidden_size=20, intermediate_size=28, num_layers=2
    ),
    recipe=Recipe(task="addition", steps=25, batch_size=8, length=6, learning_rate=6e-3),
)
SMALL_TEXT = RunConfig(
    model=ModelConfig(
        vocab_size=256, head_size=256, hidden_size=16, intermediate_size=24, num_layers=1
    ),
    recipe=Recipe(task="text", steps=25, batch_size=4, length=32, learning_rate=6e-3),
)


def trained(config: RunConfig, folder: Path, gate: str = "hard") -> Path:
    """A checkpoint folder, trained for a second."""
    train(replace(config, model=replace(config.model, gate=gate)), folder, seed=1)
    return folder


def tape_of(folder: Path) -> Tape:
    """The tape of a checkpoint."""
    return load_tape_or_export(folder)


def forget_module(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Import a module again when it is asked for.

    After the test the old one is back, also where its package names it.
    """
    package, _, own = name.rpartition(".")
    if package in sys.modules and hasattr(sys.modules[package], own):
        monkeypatch.setattr(sys.modules[package], own, getattr(sys.modules[package], own))
    monkeypatch.delitem(sys.modules, name)
