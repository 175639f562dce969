"""Training: batches that depend on the step alone, exact resumption, and checkpoints that a kill
cannot break.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mmfree.training.loop
import mmfree.training.train
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.tasks.addition import training_sums
from mmfree.tasks.catalog import training_batch
from mmfree.tasks.modular import training_pairs
from mmfree.tasks.parity import training_parities
from mmfree.text.batch import Batch
from mmfree.training.checkpoint import (
    MODEL_NAME,
    CheckpointError,
    TrainingState,
    build_model,
    load_checkpoint,
    load_training_state,
)
from mmfree.training.metrics import METRICS_NAME, read_rows
from mmfree.training.presets import addition, modular_model, parity_model
from mmfree.training.recipe import CONFIG_NAME, Recipe, RunConfig
from mmfree.training.train import train

TINY = RunConfig(
    model=ModelConfig(
        vocab_size=31, head_size=10, hidden_size=12, intermediate_size=16, num_layers=1
    ),
    recipe=Recipe(task="addition", steps=30, batch_size=4, length=5, learning_rate=5e-3),
)
TINY_TEXT = RunConfig(
    model=ModelConfig(
        vocab_size=256, head_size=256, hidden_size=8, intermediate_size=12, num_layers=1
    ),
    recipe=Recipe(task="text", steps=12, batch_size=2, length=16, learning_rate=5e-3),
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder).model.state_dict()


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("config", [TINY, TINY_TEXT], ids=["addition", "text"])
def test_a_resumed_run_equals_one_that_was_never_stopped(config: RunConfig, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole, seed=3)
    for stop_at in (1, 7, None):
        train(config, parts, seed=3, resume=stop_at != 1, stop_at=stop_at)
    assert same(whole, parts)
    for name in (MODEL_NAME, METRICS_NAME, CONFIG_NAME):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    one, other = load_training_state(whole), load_training_state(parts)
    assert (one.step, one.steps, one.seed, one.corpus) == (other.step, other.steps, 3, other.corpus)
    for name, moments in one.moments.items():
        assert all(torch.equal(value, other.moments[name][key]) for key, value in moments.items())


def test_seeds_give_different_models_and_the_same_seed_the_same(tmp_path: Path) -> None:
    short = replace(TINY, recipe=replace(TINY.recipe, steps=3))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(short, tmp_path / name, seed=seed)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("error", ["cpu", "cuda", "numpy"])
def test_a_step_that_does_not_fit_into_memory_says_what_to_lower(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        if error == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if error == "numpy":
            np.empty(1 << 62, np.uint8)
        torch.empty(1 << 60)

    monkeypatch.setattr(mmfree.training.loop.Run, "_part_loss", full)
    large = replace(TINY, recipe=replace(TINY.recipe, batch_size=1000))
    with pytest.raises(InputError, match=r"memory for a step of 1,000 x 5 tokens .* lower --batch"):
        train(large, tmp_path)


def test_training_learns(tmp_path: Path) -> None:
    """On single columns, without a carry, the loss falls well below guessing (2.30 nats)."""
    easy = replace(TINY, recipe=replace(TINY.recipe, steps=250, batch_size=32, length=1))
    result = train(easy, tmp_path / "run")
    assert result.step == result.steps == 250
    assert result.loss < 1.2
    assert result.tokens_per_second > 0


def test_resuming_a_finished_run_does_nothing(tmp_path: Path) -> None:
    train(TINY, tmp_path)
    before = (tmp_path / MODEL_NAME).read_bytes()
    assert train(TINY, tmp_path, resume=True).step == 30
    assert (tmp_path / MODEL_NAME).read_bytes() == before


def test_a_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    train(TINY, tmp_path, stop_at=2)
    with pytest.raises(
        CheckpointError, match="holds a checkpoint already; --resume goes on with it, --continue"
    ):
        train(TINY, tmp_path)
    train(TINY, tmp_path, force=True, stop_at=1)
    assert load_training_state(tmp_path).step == 1


def test_resuming_needs_the_same_config_and_text(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(TINY, tmp_path / "none", resume=True)
    train(TINY, tmp_path / "a", stop_at=1)
    other = replace(TINY, recipe=replace(TINY.recipe, steps=31))
    with pytest.raises(CheckpointError, match="made with another config"):
        train(other, tmp_path / "a", resume=True)
    train(TINY_TEXT, tmp_path / "b", stop_at=1)
    (tmp_path / "text").write_text("another text " * 100)
    with pytest.raises(CheckpointError, match="trained on another text"):
        train(TINY_TEXT, tmp_path / "b", resume=True, data=[tmp_path / "text"])


def test_options_that_contradict_a_run_are_refused(tmp_path: Path) -> None:
    train(TINY, tmp_path / "run", seed=3, stop_at=2)
    with pytest.raises(CheckpointError, match="trained with seed 3, not 7; leave --seed out"):
        train(TINY, tmp_path / "run", seed=7, resume=True)
    with pytest.raises(InputError, match="--minutes plans a run from its start"):
        train(TINY, tmp_path / "run", seed=3, resume=True, minutes=1)
    for minutes in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--minutes must be positive"):
            train(TINY, tmp_path / "new", minutes=minutes)
    for seed in (-1, 2**63):
        with pytest.raises(InputError, match=rf"--seed must be in 0\.\.{2**63 - 1}, got {seed}"):
            train(TINY, tmp_path / "new", seed=seed)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: a file; a checkpoint is a folder"):
        train(TINY, tmp_path / "file")
    assert load_training_state(tmp_path / "run").step == 2


def test_a_resumed_finished_run_tells_its_loss(tmp_path: Path) -> None:
    first = train(TINY, tmp_path)
    assert train(TINY, tmp_path, resume=True).loss == pytest.approx(first.loss, rel=0.2)


@pytest.mark.parametrize(
    "data",
    [
        b"step,loss,learning_rate\n0,x,1\n",
        b"a\n0,1\n",
        b"a\n\xff,1,2\n",
        b"a\n" + b"1" * 5000 + b"\n",
    ],
)
def test_metrics_that_are_no_table_are_named(tmp_path: Path, data: bytes) -> None:
    train(TINY, tmp_path, stop_at=2)
    (tmp_path / METRICS_NAME).write_bytes(data)
    with pytest.raises(
        InputError, match=r"metrics\.csv: must be a table of a step and two numbers"
    ):
        train(TINY, tmp_path, resume=True)


def test_data_is_for_text(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--data is for text; task addition makes its own examples"
    ):
        train(TINY, tmp_path, data=[tmp_path / "a"])


def test_another_config_is_never_beside_old_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of another model that fails before its first save leaves the old checkpoint whole."""
    train(TINY, tmp_path, stop_at=1)
    wider = replace(TINY, model=replace(TINY.model, hidden_size=16))
    with monkeypatch.context() as patch:
        patch.setattr(mmfree.training.loop.F, "cross_entropy", lambda x, y: x.sum() * float("nan"))
        with pytest.raises(InputError, match="the loss became nan at step 0: lower learning_rate"):
            train(wider, tmp_path, force=True)
    assert load_checkpoint(tmp_path).config == TINY
    train(wider, tmp_path, force=True, stop_at=1)
    assert load_checkpoint(tmp_path).config == wider


def test_learning_rate_rises_and_falls(tmp_path: Path) -> None:
    train(TINY, tmp_path)
    rates = [
        float(line.split(",")[2]) for line in (tmp_path / METRICS_NAME).read_text().splitlines()[1:]
    ]
    assert len(rates) == 30
    assert rates[0] == pytest.approx(5e-3 / 20)
    assert rates[29] == pytest.approx(5e-3 / 30)
    assert max(rates) == pytest.approx(5e-3 * (1 - 19 / 30), rel=0.2)


KILLED = """
import sys
from pathlib import Path
import mmfree.training.loop
import mmfree.training.train
from mmfree.training.recipe import RunConfig
import json
mmfree.training.loop.SAVE_SECONDS = 0.0
config = RunConfig.from_dict(json.loads(sys.argv[2]))
mmfree.training.train.train(config, Path(sys.argv[1]), seed=3)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """A run that saves after every step is killed at an arbitrary moment.

    Its checkpoint can always be loaded, and resumed to the same end.
    """
    config = replace(TINY, recipe=replace(TINY.recipe, steps=90))
    argument = json.dumps(config.to_dict())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), argument],
        env=environment,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not (folder / MODEL_NAME).exists():
                assert time.monotonic() < deadline
                assert process.poll() is None, "training ended before it was killed"
                time.sleep(0.005)
            time.sleep(0.1)
        finally:
            process.kill()
    load_checkpoint(folder)
    assert 1 <= load_training_state(folder).step <= 90
    train(config, folder, seed=3, resume=True)
    train(config, tmp_path / "reference", seed=3)
    assert same(folder, tmp_path / "reference")


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    train(TINY, tmp_path / "a", seed=5, stop_at=3)
    rows = (tmp_path / "a" / METRICS_NAME).read_text().splitlines()
    assert rows[0] == "step,loss,learning_rate"
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "1", "2"]


def test_every_step_draws_its_own_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def record(task: str, rng: np.random.Generator, batch_size: int, length: int) -> Batch:
        batch = training_batch(task, rng, batch_size, length)
        drawn.append(batch.ids.tobytes())
        return batch

    monkeypatch.setattr(mmfree.training.loop, "training_batch", record)
    train(TINY, tmp_path / "a", seed=0)
    train(TINY, tmp_path / "b", seed=1)
    assert len(set(drawn)) == len(drawn) == 60


def test_presets_are_small_enough_for_the_demo() -> None:
    assert addition().model.num_parameters == 84_672


def test_a_kill_right_after_a_save_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a step is never on disk before the rows that lead to it."""
    save = mmfree.training.loop.save_state

    def killed(folder: Path, state: TrainingState) -> None:
        save(folder, state)
        if state.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(mmfree.training.loop, "save_state", killed)
    monkeypatch.setattr(mmfree.training.loop, "SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path, seed=1)
    monkeypatch.undo()
    train(TINY, tmp_path, seed=1, resume=True)
    steps = [row[0] for row in read_rows(tmp_path / METRICS_NAME)]
    assert steps == list(range(TINY.recipe.steps))


# Step by step against plain torch: batches, rates, clipping, decay and AdamW by hand

SEED, STEPS = 5, 4
TEXT = bytes(97 + n * n % 23 for n in range(400))
TRAINED_ON = 360
"""A tenth of the text is held out."""

RATES = {
    # A warm-up of two steps: 1/2, then 1; times 1 - step / 4.
    "linear": [0.005, 0.0075, 0.005, 0.0025],
    # Likewise, times (1 + cos(pi * step / 4)) / 2, halved from the middle on.
    "two-phase": [0.005, 0.00853553, 0.0025, 0.000732233],
}


def recipe_of(config: RunConfig, **changes: object) -> RunConfig:
    common = {"steps": STEPS, "warmup_steps": 2, "learning_rate": 0.01, "batch_size": 6}
    return replace(config, recipe=replace(config.recipe, **common | changes))


NARROW = {"hidden_size": 12, "intermediate_size": 16}
CASES = {
    "addition": recipe_of(TINY, clip=0.05, weight_decay=0.3),
    "parts": recipe_of(TINY, clip=1e3, weight_decay=0.0, accumulate=4),
    "text": recipe_of(TINY_TEXT, schedule="two-phase", accumulate=2),
    "parity": recipe_of(
        replace(
            TINY,
            model=replace(parity_model(), **NARROW),
            recipe=replace(TINY.recipe, task="parity"),
        )
    ),
    "modular": recipe_of(
        replace(
            TINY,
            model=replace(modular_model(), **NARROW),
            recipe=replace(TINY.recipe, task="modular-addition", length=1),
        ),
        weight_decay=1.0,
    ),
    "baseline": recipe_of(replace(TINY_TEXT, architecture="transformer"), clip=0.5),
}


def batch_of(config: RunConfig, step: int) -> tuple[Tensor, Tensor]:
    """Ids, and targets that are -100 where a position is not scored."""
    rng = np.random.default_rng([SEED, step])
    recipe = config.recipe
    if recipe.task == "text":
        places = rng.integers(0, TRAINED_ON - recipe.length + 1, recipe.batch_size)
        rows = [list(TEXT[place : place + recipe.length]) for place in places]
        return torch.tensor([[0, *row[:-1]] for row in rows]), torch.tensor(rows)
    if recipe.task == "addition":
        batch = training_sums(rng, recipe.batch_size, recipe.length)
    elif recipe.task == "parity":
        batch = training_parities(rng, recipe.batch_size, recipe.length)
    else:
        batch = training_pairs(rng, recipe.batch_size)
    return torch.tensor(batch.ids), torch.tensor(np.where(batch.mask, batch.targets, -100))


@pytest.mark.parametrize("name", CASES)
def test_weights_are_those_of_plain_torch(name: str, tmp_path: Path) -> None:
    config = CASES[name]
    recipe, rates = config.recipe, RATES[config.recipe.schedule]
    (tmp_path / "text").write_bytes(TEXT)
    data = [tmp_path / "text"] if recipe.task == "text" else None
    train(config, tmp_path / "run", seed=SEED, data=data)

    torch.manual_seed(SEED)
    model = build_model(config)
    wanted = dict(model.named_parameters())
    first = {key: torch.zeros_like(value) for key, value in wanted.items()}
    second = {key: torch.zeros_like(value) for key, value in wanted.items()}
    losses, clipped = [], []
    for step, rate in enumerate(rates):
        ids, targets = batch_of(config, step)
        logits, _ = model(ids)
        loss = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100)
        losses.append(loss.item())
        grads = dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values())), strict=True))
        norm = float(sum(grad.double().square().sum() for grad in grads.values())) ** 0.5
        clipped.append(norm > recipe.clip)
        with torch.no_grad():
            for key, weight in wanted.items():
                grad = grads[key] * min(1.0, recipe.clip / norm)
                first[key] = 0.9 * first[key] + 0.1 * grad
                second[key] = 0.999 * second[key] + 0.001 * grad.square()
                mean = first[key] / (1 - 0.9 ** (step + 1))
                root = (second[key] / (1 - 0.999 ** (step + 1))).sqrt()
                weight.mul_(1 - rate * recipe.weight_decay).sub_(rate * mean / (root + 1e-8))

    rows = read_rows(tmp_path / "run" / METRICS_NAME)
    assert [row[0] for row in rows] == list(range(STEPS))
    assert [row[1] for row in rows] == pytest.approx(losses, rel=1e-4)
    assert [row[2] for row in rows] == pytest.approx(rates, rel=1e-5)
    got = load_training_state(tmp_path / "run").weights
    assert got.keys() == wanted.keys()
    for key, weight in wanted.items():
        # Where a gradient is nearly 0, AdamW divides noise by noise: a step at most, of few.
        apart = (got[key] - weight.detach()).abs()
        assert float((apart > 2e-5).double().mean()) < 0.02, key
    assert all(clipped) == (name != "parts") == any(clipped), "clipping is tried, and its absence"


def test_what_is_meant_for_the_compiler_learns_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored positions have no shape of their own there. Run as it stands, without a compiler."""
    short = replace(TINY, recipe=replace(TINY.recipe, steps=4))
    train(short, tmp_path / "plain")
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    train(short, tmp_path / "compiled")
    plain, compiled = (read_rows(tmp_path / name / METRICS_NAME) for name in ("plain", "compiled"))
    assert [row[1] for row in compiled] == pytest.approx([row[1] for row in plain], rel=1e-5)
