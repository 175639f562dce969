"""The loop of a training run: steps, saves, and a stop in good order."""

from __future__ import annotations

import math
import signal
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

from mmfree.errors import InputError, Stopped
from mmfree.files.folders import new_folder
from mmfree.tasks.catalog import followed_examples, training_batch
from mmfree.text.batch import Batch
from mmfree.text.corpus import Corpus
from mmfree.text.tokenizer import text_tokenizer
from mmfree.text.windows import training_windows
from mmfree.training.checkpoint import (
    CHECKPOINT_FOLDER,
    TrainingState,
    describe_checkpoint,
    save_model,
    save_state,
)
from mmfree.training.metrics import ACCURACY_NAME, METRICS_NAME, read_rows, write_rows
from mmfree.training.provenance import Provenance, write_provenance
from mmfree.training.recipe import SCHEDULES, RunConfig
from mmfree.training.sharding import gather, held_bytes
from mmfree.training.stopping import stop_requests

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SAVE_SECONDS = 30.0
"""Longest time between two saves, and what a killed run loses at most."""

FOLLOW_STEPS = 25
"""Steps between two scores of a task whose examples are followed (``followed_examples``)."""

MEASURED_STEPS = 20
"""Steps that are timed before ``minutes`` becomes a number of steps."""


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
    corpus
        The text; None for a task.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    held_bytes: int
    main: bool = True
    corpus: Corpus | None = None


class Run:
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
        provenance: Provenance,
        *,
        minutes: float | None,
        replaces: bool,
    ) -> None:
        self.config, self.recipe, self.folder = config, config.recipe, folder
        self.accelerator, self.device = accelerator, accelerator.device
        self.own_model, self.own_optimizer = model, optimizer
        # What is sharded needs no DDP around it.
        self.model = model if state.sharded else accelerator.prepare(model)
        self.optimizer = accelerator.prepare(optimizer)
        self.loss = torch.compile(_loss) if self.recipe.compile else _loss
        self.corpus, self.minutes, self.provenance = corpus, minutes, provenance
        # Without tensors, and as it was when the run began; a save has its step and its tensors.
        self.state, self.replaces = state, replaces
        self.step, self.steps, self.sharded = state.step, state.steps, state.sharded
        self.described = False
        self.rows = read_rows(folder / METRICS_NAME, self.step)
        self.followed = followed_examples(config.recipe.task)
        self.accuracies = read_rows(folder / ACCURACY_NAME, self.step + 1)

    def go(self, stop_at: int | None, events: SummaryWriter | None = None) -> TrainingResult:
        """Train until the planned steps are done, or step ``stop_at``, and save.

        Raises
        ------
        Stopped
            If a signal asked to stop; what was reached is saved.
        """
        started = saved = time.monotonic()
        tokens, stop = 0, 0
        losses: list[float] = []
        main = self.accelerator.is_main_process
        with (
            stop_requests() as request,
            tqdm(
                total=self.steps, initial=self.step, unit="step", disable=None if main else True
            ) as bar,
        ):
            while self.step < self.steps:
                batch = self._batch()
                loss, stop = self._train_step(batch, request.signal)
                if self.state.processes == 1:
                    stop = request.signal
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
                if self.minutes is not None and self.step == self.state.began + MEASURED_STEPS:
                    self.steps = self._planned_steps(elapsed)
                    bar.total = self.steps
                bar.update()
                bar.set_postfix_str(f"loss {loss:.3f}, {tokens / elapsed:,.0f} tokens/s")
                if self._is_time_to_save(time.monotonic() - saved):
                    self._save()
                    saved = time.monotonic()
                if stop or self.step == stop_at:
                    break
        if main or self.sharded:
            self._save()
        if events is not None:
            events.close()
        self.accelerator.wait_for_everyone()
        if stop:
            raise Stopped(
                f"stopped and saved at step {self.step} of {self.steps}; the same command with"
                " --resume (and without --force, --continue or --minutes) goes on",
                stop,
            )
        speed = tokens / max(time.monotonic() - started, 1e-9)
        recent = losses[-50:] or [row[1] for row in self.rows[-50:]]
        loss = sum(recent) / len(recent) if recent else math.nan
        return TrainingResult(
            self.step,
            self.steps,
            loss,
            speed,
            held_bytes(self.own_model, self.own_optimizer),
            main,
            self.corpus,
        )

    def _planned_steps(self, seconds: float) -> int:
        assert self.minutes is not None
        # A float, which may be infinite, until it is at most the recipe's steps.
        most = float(self.steps - self.state.began)
        fitting = min(most, self.minutes * 60 / (seconds / MEASURED_STEPS))
        # The first process decides for all.
        planned = [self.state.began + max(MEASURED_STEPS, int(fitting))]
        return int(broadcast_object_list(planned)[0])

    def _batch(self) -> Batch:
        rng = np.random.default_rng([self.state.seed, self.step])
        recipe = self.recipe
        if self.corpus is None:
            return training_batch(recipe.task, rng, recipe.batch_size, recipe.length)
        start = text_tokenizer(self.config.tokenizer).start
        return training_windows(
            rng, self.corpus.training, recipe.batch_size, recipe.length, start=start
        )

    def _learning_rate(self) -> float:
        done, planned = self.step - self.state.began, self.steps - self.state.began
        rising = min(1.0, (done + 1) / self.recipe.warmup_steps)
        return self.recipe.learning_rate * rising * SCHEDULES[self.recipe.schedule](done / planned)

    def _train_step(self, batch: Batch, asked_to_stop: int) -> tuple[float, int]:
        """A step; gives its loss, and the signal that asked this or another process to stop."""
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
                self.accelerator.backward(loss * self.state.processes)
            total += loss.detach()
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        # In one message: all processes stop, or none.
        asked = torch.full_like(total, float(asked_to_stop > 0))
        value, stops = map(
            float, self.accelerator.reduce(torch.stack([total, asked]), "sum").unbind()
        )
        if not math.isfinite(value):
            raise InputError(f"the loss became {value} at step {self.step}: lower learning_rate")
        self.rows.append((self.step, value, rate))
        return value, (asked_to_stop or signal.SIGTERM) if stops else 0

    def _own_parts(self, batch: Batch) -> list[NDArray[np.intp]]:
        """Rows of a batch that this process runs, one part after another."""
        count = self.recipe.accumulate
        parts = np.array_split(np.arange(len(batch.ids)), self.state.processes * count)
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
        state = replace(
            self.state, step=self.step, steps=self.steps, weights=weights, moments=moments
        )
        if self.replaces:
            # Whatever is there stays until all of the new checkpoint is on the disk.
            with new_folder(self.folder, CHECKPOINT_FOLDER, force=True) as new:
                self._write(new, state)
            self.replaces = False
        else:
            self._write(self.folder, state)

    def _write(self, folder: Path, state: TrainingState) -> None:
        # The tables first: a resumed run drops rows that its state does not reach, but could not
        # make up for those that a kill between the two had lost.
        write_rows(folder / METRICS_NAME, "step,loss,learning_rate", self.rows)
        if self.followed is not None:
            write_rows(folder / ACCURACY_NAME, "step,training,held_out", self.accuracies)
        # The state before the record and the config of its plan, which without it would be those of
        # another's; the record before the config, which is part of it once the next plan begins.
        save_state(folder, state)
        if not self.described:
            write_provenance(folder, self.provenance)
            describe_checkpoint(folder, self.config)
            self.described = True
        save_model(folder, state)


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
