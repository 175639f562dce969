"""Boundaries of training: recipes, options of runs and comparisons, states, and export."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from mmfree.comparison import contest
from mmfree.contract.shape import ModelConfig
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.training.checkpoint import (
    MODEL_NAME,
    CheckpointError,
    describe_checkpoint,
    load_training_state,
)
from mmfree.training.export import export_tape
from mmfree.training.folder import check_teacher
from mmfree.training.provenance import Provenance, read_provenance, write_provenance
from mmfree.training.recipe import TRAINING_NAME, Recipe
from mmfree.training.sharding import join_processes
from mmfree.training.train import train
from tests.support.boundaries import Boundary
from tests.support.models import SMALL_ADDITION, SMALL_TEXT

RECIPE, FOLDER, CHECKPOINT = (
    f"mmfree/training/{name}.py" for name in ("recipe", "folder", "checkpoint")
)
COMPARISON = "mmfree/comparison/contest.py"
LARGEST_SEED = 9223372036854775807


class Reached(Exception):
    """The work after a guard, which is not done."""


def recipe(**values: Any) -> Recipe:
    common = {"task": "text", "steps": 1, "batch_size": 1, "length": 1, "learning_rate": 1e-3}
    return Recipe(**common | values)


def asked(folder: Path, **options: Any) -> None:
    """Ask for a run, which does not begin."""
    with (
        mock.patch("mmfree.training.train.join_processes", side_effect=Reached),
        pytest.raises(Reached),
    ):
        train(SMALL_ADDITION, folder / "run", **options)


def taught_by_transformer(folder: Path, length: int) -> None:
    """Ask whether a Transformer of 32 positions can teach a run in windows of ``length``."""
    teacher = folder / "teacher"
    teacher.mkdir(exist_ok=True)
    describe_checkpoint(teacher, replace(SMALL_TEXT, architecture="transformer"))
    (teacher / MODEL_NAME).touch()
    recipe = replace(SMALL_TEXT.recipe, length=length)
    check_teacher(replace(SMALL_TEXT, recipe=recipe), folder / "run", teacher)


def in_parts(folder: Path, accumulate: int) -> None:
    recipe = replace(SMALL_ADDITION.recipe, steps=1, batch_size=3, accumulate=accumulate)
    train(replace(SMALL_ADDITION, recipe=recipe), folder / "run")


def shared(processes: int) -> None:
    with mock.patch.object(Accelerator, "num_processes", processes):
        join_processes(shard=True)


def state(folder: Path, **numbers: int) -> None:
    values = {"step": 3, "steps": 5, "began": 1, "seed": 0, "processes": 1, "sharded": 0} | numbers
    metadata = {name: str(value) for name, value in values.items()} | {"corpus": ""}
    save_file({"weights.a": torch.zeros(1)}, folder / TRAINING_NAME, metadata)
    found = load_training_state(folder)
    assert {name: getattr(found, name) for name in values} == values


def compared(
    folder: Path, rates: tuple[float, ...] = (1e-3,), seeds: int = 1, seed: int = 0
) -> None:
    """Ask for a comparison, which does not begin."""
    with (
        mock.patch.object(contest, "load_corpus", side_effect=Reached),
        pytest.raises(Reached),
    ):
        contest.compare(
            SMALL_TEXT,
            folder,
            data=None,
            rates={"matmul-free": rates, "transformer": [1e-3]},
            seeds=seeds,
            seed=seed,
        )


def export(name: str, weight: float) -> None:
    """A model of which one matrix, with a fan-in of 16, has all weights alike."""
    config = ModelConfig(
        vocab_size=5, head_size=3, hidden_size=16, intermediate_size=9, num_layers=1
    )
    model = MatMulFreeLM(config)
    with torch.no_grad():
        model.get_parameter(f"layers.0.{name}.weight").fill_(weight)
    export_tape(model, {"kind": "none"})


def float32_below(value: float) -> float:
    return float(torch.nextafter(torch.tensor(value), torch.tensor(0.0)))


def row(
    file: str,
    compares: str,
    run: Callable[..., object],
    allowed: dict[str, Any],
    refused: dict[str, Any],
    says: str,
    **more: Any,
) -> Boundary:
    """A row of a function that takes a folder and options."""
    return Boundary(
        file=file,
        compares=compares,
        allowed=lambda folder: run(folder, **allowed),
        refused=lambda folder: run(folder, **refused),
        says=says,
        **more,
    )


def recipe_row(compares: str, name: str, allowed: Any, refused: Any, says: str) -> Boundary:
    return row(
        RECIPE,
        compares,
        lambda _, **values: recipe(**values),
        {name: allowed},
        {name: refused},
        rf"^recipe: {says}",
    )


COUNTS = {
    "steps": 10**12,
    "warmup_steps": 10**12,
    "batch_size": 1 << 24,
    "length": 1 << 24,
    "accumulate": 1 << 24,
}
NUMBER = "low <= value <= sys.float_info.max"
SEED, PLAN = "0 <= seed <= MAX_SEED", "began <= step <= steps"
BEST = "replaced <= since <= began"


def held_out(folder: Path, token: int) -> None:
    """Read back what a run says of its text, with a held-out token."""
    write_provenance(folder, Provenance(sources=(), field="text", held_out=(token,)))
    read_provenance(folder)


ROWS: list[Boundary] = [
    *(
        Boundary(
            file="mmfree/training/provenance.py",
            compares="0 <= token < 1 << 32",
            allowed=lambda folder, token=inside: held_out(folder, token),
            refused=lambda folder, token=outside: held_out(folder, token),
            says=r"training\.json: damaged: not what a run says of its text; remove the file$",
        )
        for inside, outside in ((0, -1), ((1 << 32) - 1, 1 << 32))
    ),
    *(
        recipe_row("value < 1", name, 1, 0, f"{name} must be a positive integer, got 0$")
        for name in COUNTS
    ),
    *(
        recipe_row("value > most", name, most, most + 1, f"{name} must be at most {most}, got")
        for name, most in COUNTS.items()
    ),
    row(
        RECIPE,
        "(tokens := (self.batch_size * self.length)) > MAX_TOKENS",
        lambda _, **values: recipe(**values),
        {"batch_size": 1 << 14, "length": 1 << 14},
        {"batch_size": (1 << 14) + 1, "length": 1 << 14},
        r"batch_size \* length must be at most 268435456, got 268451840",
    ),
    recipe_row(
        "rate > MAX_RATE",
        "learning_rate",
        1000.0,
        math.nextafter(1000.0, math.inf),
        r"learning_rate must be at most 1000, got 1000\.0000000000001",
    ),
    recipe_row(
        "rate > MAX_RATE",
        "embedding_rate",
        1e6,
        1.001e6,
        r"learning_rate \* embedding_rate must be at most 1000, got 1001\.0$",
    ),
    *(
        recipe_row(
            "SHORTEST_MEMORY <= memory <= LONGEST_MEMORY",
            "longest_memory",
            allowed,
            refused,
            rf"longest_memory must be 0, or in 2\.\.4096 tokens, got {refused}$",
        )
        for allowed, refused in ((2, 1.999), (4096, 4096.001))
    ),
    recipe_row(
        "self.teacher_share > 1",
        "teacher_share",
        1,
        math.nextafter(1.0, 2.0),
        r"teacher_share must be at most 1, got 1\.0000000000000002",
    ),
    *(
        recipe_row(
            NUMBER,
            name,
            1e-12,
            math.nextafter(1e-12, 0.0),
            rf"{name} must be a positive number, got 9\.99\d+e-13",
        )
        for name in ("learning_rate", "embedding_rate", "clip", "teacher_share")
    ),
    *(
        recipe_row(NUMBER, name, 0, -5e-324, f"{name} must be a positive number, got -")
        for name in ("weight_decay", "hold")
    ),
    *(
        recipe_row(
            NUMBER, name, sys.float_info.max, math.inf, f"{name} must be a positive number, got inf"
        )
        for name in ("clip", "weight_decay", "hold")
    ),
    row(
        FOLDER,
        "minutes > 0",
        asked,
        {"minutes": 5e-324},
        {"minutes": 0},
        "--minutes must be positive, got 0",
    ),
    *(
        row(
            FOLDER,
            "resume + extend + force > 1",
            asked,
            {first: True},
            {first: True, second: True},
            r"--resume goes on with a run, --continue .*, --force replaces it: give one of them",
        )
        for first, second in (("resume", "extend"), ("extend", "force"), ("force", "resume"))
    ),
    row(
        FOLDER,
        "known.recipe.length < config.recipe.length",
        taught_by_transformer,
        {"length": 32},
        {"length": 33},
        "a Transformer that has learned 32 positions, fewer than the 33 of a window of this run",
        raises=CheckpointError,
    ),
    row(FOLDER, SEED, asked, {"seed": 0}, {"seed": -1}, "--seed must be in 0.*, got -1"),
    row(
        FOLDER,
        SEED,
        asked,
        {"seed": LARGEST_SEED},
        {"seed": LARGEST_SEED + 1},
        rf"--seed must be in 0\.\.{LARGEST_SEED}, got {LARGEST_SEED + 1}",
    ),
    row(
        FOLDER,
        "(parts := (processes * recipe.accumulate)) > recipe.batch_size",
        in_parts,
        {"accumulate": 3},
        {"accumulate": 4},
        "batch_size 3 cannot be cut into 4 parts",
    ),
    Boundary(
        file="mmfree/training/sharding.py",
        compares="accelerator.num_processes < 2",
        allowed=lambda _: shared(2),
        refused=lambda _: shared(1),
        says="--shard spreads a model over processes, and this run has one",
    ),
    *(
        row(CHECKPOINT, compares, state, allowed, refused, says, raises=CheckpointError)
        for compares, allowed, refused, says in (
            (PLAN, {"began": 3}, {"began": 4}, "say step 3 of 5, begun at 4, 1 processes"),
            (BEST, {"since": 1}, {"since": 2}, "since step 2, replaced 0, of a plan begun at 1"),
            (BEST, {"replaced": 1}, {"replaced": 2}, "step 1, replaced 2, of a plan begun at 1"),
            (PLAN, {"steps": 3}, {"steps": 2}, "say step 3 of 2, begun at 1, 1 processes"),
            ("processes < 1", {"processes": 1}, {"processes": 0}, "begun at 1, 0 processes"),
            ("sharded > 1", {"sharded": 1}, {"sharded": 2}, "1 processes, sharded 2"),
        )
    ),
    row(COMPARISON, "seeds < 1", compared, {"seeds": 1}, {"seeds": 0}, "at least 1, got 0"),
    *(
        row(
            COMPARISON,
            "0 <= seed <= MAX_SEED - seeds",
            compared,
            {"seed": allowed, "seeds": 3},
            {"seed": refused, "seeds": 3},
            rf"--seed must be in 0\.\.{LARGEST_SEED - 3}, got {refused}",
        )
        for allowed, refused in ((0, -1), (LARGEST_SEED - 3, LARGEST_SEED - 2))
    ),
    row(
        COMPARISON,
        "len({_shown_rate(rate) for rate in asked}) < len(asked)",
        compared,
        {"rates": (1e-3, 1.00001e-3)},
        {"rates": (1e-3, 1.000001e-3)},
        r"a rate of matmul-free is given twice: 0\.001 0\.001",
    ),
    *(
        Boundary(
            file="mmfree/training/export.py",
            compares="low <= scale < high",
            allowed=lambda _, name=name, weight=allowed: export(name, weight),
            refused=lambda _, name=name, weight=refused: export(name, weight),
            says=rf"^layers\.0\.{name}\.weight: mean absolute weight .* or in \[{limits}\), got",
        )
        # Nine fraction bits, four, and six of the hard gate; a scale is 4 times the weight, for 4
        # is the root of the fan-in.
        for name, low, high, limits in (
            ("mixer.o", 2.0**-14, 32.0, "0.0000610352, 32"),
            ("glu.up", 2.0**-9, 1024.0, "0.00195312, 1,024"),
            ("mixer.f", 2.0**-11, 256.0, "0.000488281, 256"),
        )
        for allowed, refused in (
            (low / 4, float32_below(low / 4)),
            (float32_below(high / 4), high / 4),
        )
    ),
]
