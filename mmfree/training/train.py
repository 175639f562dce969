"""Training: one process or many, exactly resumable, killable at any moment.

Processes come from `torchrun` or `accelerate launch`. Every process makes the whole batch of a
step, which depends on seed and step alone, and takes its own rows; gradients are added up (DDP, or
FSDP2: ``mmfree.training.sharding``), so the loss is that of the whole batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from mmfree.errors import InputError, ToolMissing
from mmfree.tasks.catalog import followed_examples, training_batch
from mmfree.text.batch import Batch
from mmfree.text.corpus import Corpus
from mmfree.text.loading import load_corpus
from mmfree.text.tokenizer import text_tokenizer
from mmfree.text.windows import training_windows
from mmfree.training.checkpoint import (
    CheckpointError,
    TrainingState,
    begin_checkpoint,
    build_model,
    check_moments,
    load_config,
    load_training_state,
    load_weights,
    save_checkpoint,
)
from mmfree.training.metrics import ACCURACY_NAME, METRICS_NAME, read_rows, write_rows
from mmfree.training.recipe import CONFIG_NAME, SCHEDULES, TRAINING_NAME, Recipe, RunConfig
from mmfree.training.sharding import (
    gather,
    held_bytes,
    join_processes,
    restore_moments,
    shard_model,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SAVE_SECONDS = 30.0
"""Longest time between two saves, and what a killed run loses at most."""

FOLLOW_STEPS = 25
"""Steps between two scores of a task whose examples are followed (``followed_examples``)."""

MEASURED_STEPS = 20
"""Steps that are timed before ``minutes`` becomes a number of steps."""

MAX_SEED = (1 << 63) - 1
"""Largest seed: torch and NumPy take it, and a checkpoint's metadata hold it."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Attributes
    ----------
    step, steps
        Steps done, and planned.
    loss
        Mean of the last steps, in nats.
    tokens_per_second
        Of this call, saves included.
    held_bytes
        Weights and moments in this process's memory.
    main
        Whether this process is the one that reports.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    held_bytes: int
    main: bool = True


def train(
    config: RunConfig,
    folder: Path,
    *,
    data: list[Path] | None = None,
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = False,
    force: bool = False,
    stop_at: int | None = None,
    tensorboard: bool = False,
    shard: bool = False,
) -> TrainingResult:
    """Train a model into a checkpoint folder.

    Parameters
    ----------
    config
        Model and recipe.
    folder
        The checkpoint; metrics.csv in it holds step, loss and learning rate, accuracy.csv (modular
        addition) accuracy on training and held-out pairs.
    data
        Text files; None or empty: the built-in corpus. Only for text.
    seed
        Of weights and batches. A batch depends on seed and step alone.
    minutes
        Plan only as many steps as fit in this time on this machine (measured over the first 20), so
        that the learning rate still falls to 0.
    resume
        Go on from the checkpoint; the result equals that of a run that was never stopped.
    force
        Replace an existing checkpoint.
    stop_at
        Stop after this step as if killed after a save (for tests).
    tensorboard
        Also write events for TensorBoard into the folder ``tensorboard`` of the checkpoint.
    shard
        Spread weights, gradients and moments over the processes, of which there must be several.

    Raises
    ------
    CheckpointError
        If the folder holds a checkpoint and neither ``resume`` nor ``force`` is given, or
        resumption finds none, or one of another config, text or number of processes, or one that
        was sharded if this run is not.
    InputError
        If an option is out of range, the data cannot be used, or training diverges.
    ToolMissing
        If ``tensorboard`` is asked for and not installed.
    """
    _check_options(folder, seed=seed, minutes=minutes, resume=resume)
    corpus = _corpus(config, data or [])
    accelerator = join_processes(shard=shard)
    _check_parts(config.recipe, accelerator.num_processes)
    asked = TrainingState(
        step=0,
        steps=config.recipe.steps,
        seed=seed,
        processes=accelerator.num_processes,
        sharded=shard,
        corpus=_digest(corpus),
        weights={},
        moments={},
    )
    if not resume:
        _refuse_to_replace(folder, force)
    state = _state_to_resume(folder, config, asked) if resume else asked
    torch.manual_seed(seed)
    model = build_model(config)
    if resume:
        load_weights(folder / TRAINING_NAME, state.weights, model)
        check_moments(folder / TRAINING_NAME, state, model)
    # Before the optimizer, which must see the shares alone.
    if shard:
        shard_model(model, accelerator)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.0, weight_decay=config.recipe.weight_decay, fused=True
    )
    restore_moments(state, model, optimizer)
    # They are in the model and the optimizer now: the run need not keep a second copy in memory.
    state = replace(state, weights={}, moments={})
    run = _Run(config, folder, accelerator, model, optimizer, corpus, state, minutes)
    # Nobody writes before all have looked.
    accelerator.wait_for_everyone()
    return run.go(stop_at, _events(folder) if tensorboard and accelerator.is_main_process else None)


def _check_options(folder: Path, *, seed: int, minutes: float | None, resume: bool) -> None:
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise InputError(f"--minutes must be positive, got {minutes}")
    if minutes is not None and resume:
        raise InputError("--minutes plans a run from its start; leave it out with --resume")
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"--seed must be in 0..{MAX_SEED}, got {seed}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; a checkpoint is a folder")


def _check_parts(recipe: Recipe, processes: int) -> None:
    if (parts := processes * recipe.accumulate) > recipe.batch_size:
        raise InputError(
            f"batch_size {recipe.batch_size} cannot be cut into {parts} parts ({processes}"
            f" processes, accumulate {recipe.accumulate})"
        )


def _refuse_to_replace(folder: Path, force: bool) -> None:
    if (folder / CONFIG_NAME).exists() and not force:
        raise CheckpointError(
            f"{folder}: holds a checkpoint already; --resume goes on with it, --force replaces it"
        )


def _state_to_resume(folder: Path, config: RunConfig, asked: TrainingState) -> TrainingState:
    """What the checkpoint stored, if it is of the run that is asked for."""
    if load_config(folder) != config:
        raise CheckpointError(
            f"{folder}: the checkpoint was made with another config; resume with the same preset or"
            " file, or train into another folder"
        )
    state = load_training_state(folder)
    if state.corpus != asked.corpus:
        raise CheckpointError(
            f"{folder}: the checkpoint was trained on another text, or on the same in another form"
            " (shards, or plain); resume with the same --data"
        )
    if asked.seed not in (0, state.seed):
        raise CheckpointError(
            f"{folder}: trained with seed {state.seed}, not {asked.seed}; leave --seed out"
        )
    if state.processes != asked.processes:
        raise CheckpointError(
            f"{folder}: the checkpoint was trained by {state.processes} processes, this run has"
            f" {asked.processes}: sums would differ; resume with as many"
        )
    if state.sharded != asked.sharded:
        begun, remedy = ("sharded", "with") if state.sharded else ("without sharding", "without")
        raise CheckpointError(
            f"{folder}: the checkpoint was trained {begun}: sums would differ; resume {remedy}"
            " --shard"
        )
    return state


class _Run:
    """The loop, and what it carries from step to step."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        corpus: Corpus | None,
        state: TrainingState,
        minutes: float | None,
    ) -> None:
        self.config, self.recipe, self.folder = config, config.recipe, folder
        self.accelerator, self.device = accelerator, accelerator.device
        self.own_model, self.own_optimizer = model, optimizer
        # What is sharded needs no DDP around it.
        self.model = model if state.sharded else accelerator.prepare(model)
        self.optimizer = accelerator.prepare(optimizer)
        self.loss = torch.compile(_loss) if self.recipe.compile else _loss
        self.corpus, self.minutes = corpus, minutes
        self.step, self.steps, self.seed = state.step, state.steps, state.seed
        self.begun, self.processes, self.sharded = state.step > 0, state.processes, state.sharded
        self.rows = read_rows(folder / METRICS_NAME, self.step)
        self.followed = followed_examples(config.recipe.task)
        self.accuracies = read_rows(folder / ACCURACY_NAME, self.step + 1)

    def go(self, stop_at: int | None, events: SummaryWriter | None = None) -> TrainingResult:
        """Train until the planned steps are done, or step ``stop_at``, and save."""
        started = saved = time.monotonic()
        tokens, losses = 0, []
        main = self.accelerator.is_main_process
        with tqdm(
            total=self.steps, initial=self.step, unit="step", disable=None if main else True
        ) as bar:
            while self.step < self.steps:
                batch = self._batch()
                loss = self._train_step(batch)
                self.step += 1
                tokens += batch.ids.size
                losses.append(loss)
                if events is not None:
                    events.add_scalar("loss", loss, self.step)
                    events.add_scalar("learning rate", self.rows[-1][2], self.step)
                if self.followed is not None and self.step % FOLLOW_STEPS == 0:
                    training, held_out = map(self._accuracy, self.followed)
                    self.accuracies.append((self.step, training, held_out))
                elapsed = time.monotonic() - started
                if self.minutes is not None and self.step == MEASURED_STEPS:
                    self.steps = self._planned_steps(elapsed)
                    bar.total = self.steps
                bar.update()
                bar.set_postfix_str(f"loss {loss:.3f}, {tokens / elapsed:,.0f} tokens/s")
                if self._is_time_to_save(time.monotonic() - saved):
                    self._save()
                    saved = time.monotonic()
                if self.step == stop_at:
                    break
        if main or self.sharded:
            self._save()
        if events is not None:
            events.close()
        self.accelerator.wait_for_everyone()
        speed = tokens / max(time.monotonic() - started, 1e-9)
        recent = losses[-50:] or [row[1] for row in self.rows[-50:]]
        loss = sum(recent) / len(recent) if recent else math.nan
        return TrainingResult(
            self.step, self.steps, loss, speed, held_bytes(self.own_model, self.own_optimizer), main
        )

    def _planned_steps(self, seconds: float) -> int:
        assert self.minutes is not None
        # A float, which may be infinite, until it is at most the recipe's steps.
        fitting = min(float(self.steps), self.minutes * 60 / (seconds / MEASURED_STEPS))
        # The first process decides for all.
        planned = [max(MEASURED_STEPS, int(fitting))]
        return int(broadcast_object_list(planned)[0])

    def _batch(self) -> Batch:
        rng = np.random.default_rng([self.seed, self.step])
        recipe = self.recipe
        if self.corpus is None:
            return training_batch(recipe.task, rng, recipe.batch_size, recipe.length)
        start = text_tokenizer(self.config.tokenizer).start
        return training_windows(
            rng, self.corpus.training, recipe.batch_size, recipe.length, start=start
        )

    def _learning_rate(self) -> float:
        rising = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        return (
            self.recipe.learning_rate
            * rising
            * SCHEDULES[self.recipe.schedule](self.step / self.steps)
        )

    def _train_step(self, batch: Batch) -> float:
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        parts = self._own_parts(batch)
        for number, rows in enumerate(parts):
            # Gradients of processes are added up once, with the last part; if sharded with every
            # part, so that none is ever whole.
            waits = number < len(parts) - 1 and not self.sharded
            with self.accelerator.no_sync(self.model) if waits else nullcontext():
                loss = self._part_loss(batch, rows)
                # DDP and FSDP take the mean over processes.
                self.accelerator.backward(loss * self.processes)
            total += loss.detach()
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        value = float(self.accelerator.reduce(total, "sum"))
        if not math.isfinite(value):
            raise InputError(f"the loss became {value} at step {self.step}: lower learning_rate")
        self.rows.append((self.step, value, rate))
        return value

    def _own_parts(self, batch: Batch) -> list[NDArray[np.intp]]:
        """Rows of a batch that this process runs, one part after another."""
        count = self.recipe.accumulate
        parts = np.array_split(np.arange(len(batch.ids)), self.processes * count)
        own = self.accelerator.process_index * count
        return parts[own : own + count]

    def _part_loss(self, batch: Batch, rows: NDArray[np.intp]) -> Tensor:
        """The part's share of the mean over the whole batch's scored positions, in nats."""
        ids, targets, mask = (
            torch.from_numpy(array[rows]).to(self.device)
            for array in (batch.ids, batch.targets, batch.mask)
        )
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        ):
            mean = self.loss(self.model, ids, targets, mask if not batch.mask.all() else None)
        share = batch.mask[rows].sum() / batch.mask.sum()
        return mean * float(share)

    def _accuracy(self, batch: Batch) -> float:
        """Share of exact examples, in the contract's arithmetic."""
        with torch.no_grad():
            logits, _ = self.own_model(
                torch.from_numpy(batch.ids).to(self.device), mode="fakequant"
            )
        return batch.num_exact(logits.argmax(dim=-1).cpu().numpy()) / len(batch.ids)

    def _is_time_to_save(self, seconds: float) -> bool:
        """Whether this process takes part in a save now, ``seconds`` after the last one."""
        due = [seconds > SAVE_SECONDS]
        if self.sharded:
            # All save, or none: the first decides.
            return bool(broadcast_object_list(due)[0])
        return due[0] and self.accelerator.is_main_process

    def _save(self) -> None:
        """Save the checkpoint, which the first process writes.

        If the model is sharded all processes must call this, for each gives its shares.
        """
        writes = self.accelerator.is_main_process
        weights, moments = gather(self.own_model, self.own_optimizer, keep=writes)
        if not writes:
            return
        state = TrainingState(
            step=self.step,
            steps=self.steps,
            seed=self.seed,
            processes=self.processes,
            sharded=self.sharded,
            corpus=_digest(self.corpus),
            weights=weights,
            moments=moments,
        )
        if not self.begun:
            begin_checkpoint(self.folder, self.config)
            self.begun = True
        # The tables first: a resumed run drops rows that its state does not reach, but could not
        # make up for those that a kill between the two had lost.
        write_rows(self.folder / METRICS_NAME, "step,loss,learning_rate", self.rows)
        if self.followed is not None:
            write_rows(self.folder / ACCURACY_NAME, "step,training,held_out", self.accuracies)
        save_checkpoint(self.folder, state)


def _loss(
    model: Callable[..., tuple[Tensor, object]], ids: Tensor, targets: Tensor, mask: Tensor | None
) -> Tensor:
    """Mean over the scored positions, in nats; no mask: all are scored."""
    logits, _ = model(ids, mode="train")
    if mask is None:
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    if torch.compiler.is_compiling():
        # Of shapes that do not depend on the mask, or every batch would be compiled again.
        return F.cross_entropy(
            logits.flatten(0, 1).float(),
            targets.masked_fill(~mask, -100).flatten(),
            ignore_index=-100,
        )
    return F.cross_entropy(logits[mask].float(), targets[mask])


def _events(folder: Path) -> SummaryWriter:
    """A writer of events where TensorBoard reads them."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ToolMissing(
            "--tensorboard: the package is missing: pip install 'mmfree[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))


def _corpus(config: RunConfig, paths: list[Path]) -> Corpus | None:
    if config.recipe.task == "text":
        return load_corpus(paths, text_tokenizer(config.tokenizer), minimum=config.recipe.length)
    if paths:
        raise InputError(f"--data is for text; task {config.recipe.task} makes its own examples")
    return None


def _digest(corpus: Corpus | None) -> str:
    """Identity of the text that a run learns from."""
    return corpus.digest if corpus is not None else ""
