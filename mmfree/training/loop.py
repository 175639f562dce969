"""The loop of a training run: steps, saves, and a stop in good order."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

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
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.stopping import stop_requests
from mmfree.tasks.catalog import followed_examples, training_batch
from mmfree.text.batch import Batch
from mmfree.text.corpus import Corpus
from mmfree.text.tokenizer import text_tokenizer
from mmfree.text.windows import training_windows
from mmfree.threads import Waiting, fastest_number
from mmfree.training.checkpoint import (
    CHECKPOINT_FOLDER,
    TrainingState,
    describe_checkpoint,
    save_model,
    save_state,
)
from mmfree.training.metrics import (
    ACCURACY_NAME,
    METRICS_NAME,
    OFTEN,
    RANGES_HEADER,
    RANGES_NAME,
    SAMPLES_NAME,
    VALIDATION_HEADER,
    VALIDATION_NAME,
    Sample,
    best_step,
    read_rows,
    read_samples,
    write_rows,
    write_samples,
)
from mmfree.training.provenance import Provenance, write_provenance
from mmfree.training.recipe import SCHEDULES, RunConfig
from mmfree.training.sharding import gather, held_bytes
from mmfree.training.teacher import Teacher, taught_loss
from mmfree.training.validation import SAMPLE_STEPS, VALIDATION_STEPS, Validation, logits_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SAVE_SECONDS = 30.0
"""Longest time between two saves, and what a killed run loses at most."""

FOLLOW_STEPS = 25
"""Steps between two scores of a task whose examples are followed (``followed_examples``)."""

MEASURED_STEPS = 20
"""Steps that are timed before ``minutes`` becomes a number of steps."""

PLAN_SECONDS = 10.0
"""Shortest time between two plans for ``minutes``: each is by the speed since the one before."""


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
    best_step
        Steps after which the model did best on held-out text, which is the one that is kept; None
        without a validation.
    at_limit
        Largest share of an intermediate's values that lie at a limit in the model that is kept, if
        that is so often that ``export`` refuses it; else None.
    replaced_best
        Step of the best model before this plan (--continue), which was replaced without comparing
        them: held-out text or window length was another. None if there is no such.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    held_bytes: int
    main: bool = True
    corpus: Corpus | None = None
    best_step: int | None = None
    replaced_best: int | None = None
    at_limit: float | None = None


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
        teacher: Path | None,
        *,
        minutes: float | None,
        replaces: bool,
    ) -> None:
        self.config, self.recipe, self.folder = config, config.recipe, folder
        self.accelerator, self.device = accelerator, accelerator.device
        self.own_model, self.own_optimizer = model, optimizer
        if isinstance(model, MatMulFreeLM):
            model.hold_ranges(self.recipe.hold / (self.recipe.batch_size * self.recipe.length))
        # What is sharded needs no DDP around it.
        self.model = model if state.sharded else accelerator.prepare(model)
        self.optimizer = accelerator.prepare(optimizer)
        self.teacher: Teacher | None = None
        loss: Callable[..., Any] = _loss
        if teacher is not None:
            self.teacher = Teacher(teacher, self.device, compiled=self.recipe.compile)
            loss = taught_loss
        self.loss: Callable[..., Any] = torch.compile(loss) if self.recipe.compile else loss
        self.corpus, self.minutes, self.provenance = corpus, minutes, provenance
        # Without tensors, and as it was when the run began; a save has its step and its tensors.
        self.state, self.replaces = state, replaces
        self.step, self.steps, self.sharded = state.step, state.steps, state.sharded
        self.described = False
        self.rows = read_rows(folder / METRICS_NAME, self.step)
        self.followed = followed_examples(config.recipe.task)
        self.accuracies = read_rows(folder / ACCURACY_NAME, self.step + 1)
        self.validation = _validation(config, corpus)
        self.validations = read_rows(folder / VALIDATION_NAME, self.step + 1)
        self.ranges = read_rows(folder / RANGES_NAME, self.step + 1)
        self.samples = read_samples(folder / SAMPLES_NAME, self.step + 1)
        # Of the residual, in the model that is kept (``Validation.ranges``).
        self.scale = 1.0
        # Seconds and steps of the last plan for ``minutes``.
        self.planned = (0.0, self.step)

    def choose_threads(self) -> int:
        """Threads with which this run's steps are fastest now, which its state remembers."""

        def step() -> None:
            batch = self._batch()
            self.accelerator.backward(self._part_loss(batch, self._own_parts(batch)[0])[0])
            self.optimizer.zero_grad(set_to_none=True)

        number = fastest_number(step)
        self.state = replace(self.state, threads=number)
        return number

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
            Waiting(self.device.type) as waiting,
            tqdm(
                total=self.steps, initial=self.step, unit="step", disable=None if main else True
            ) as bar,
        ):
            if self.step and self.step == self.best_step and (main or self.sharded):
                # A kill may have come between the state, which is this step's, and its model.
                self._save_best()
            while self.step < self.steps:
                batch = self._batch()
                plans = self._is_time_to_plan(time.monotonic() - started)
                begun = time.monotonic()
                loss, stop, plans = self._train_step(batch, request.signal, plans)
                now = time.monotonic()
                waiting.step_took(now - begun, now)
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
                if plans:
                    self.steps = self._planned_steps(elapsed)
                    bar.total = self.steps
                better = self._validate(bar, events)
                bar.update()
                elapsed = time.monotonic() - started
                told = f", held out {self.validations[-1][1]:.3f}" if self.validations else ""
                bar.set_postfix_str(f"loss {loss:.3f}{told}, {tokens / elapsed:,.0f} tokens/s")
                if (better and (main or self.sharded)) or self._is_time_to_save(
                    time.monotonic() - saved
                ):
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
            self.best_step,
            self.state.replaced or None,
            self._too_often_at_limit(),
        )

    @property
    def best_step(self) -> int | None:
        """Steps after which the model did best on this held-out text; None if none is known."""
        return best_step(self.validations, self.state.since, self.ranges)

    def _too_often_at_limit(self) -> float | None:
        """See TrainingResult.at_limit."""
        shares = [max(row[1:]) for row in self.ranges if row[0] == self.best_step]
        return shares[-1] if shares and shares[-1] > OFTEN else None

    def _validate(self, bar: tqdm[NoReturn], events: SummaryWriter | None) -> bool:
        """Look at held-out text, if it is time to; whether no earlier model did as well."""
        last = self.step == self.steps
        if self.validation is None or not (last or self.step % VALIDATION_STEPS == 0):
            return False
        loss, bits_per_byte = self.validation.score(self.own_model)
        self.validations.append((self.step, loss, bits_per_byte))
        if events is not None:
            events.add_scalar("held-out loss", loss, self.step)
            events.add_scalar("held-out bits per byte", bits_per_byte, self.step)
        model = self.own_model
        if isinstance(model, MatMulFreeLM):
            seen, self.scale = self.validation.ranges(model)
            self.ranges.append((self.step, seen.at_limit_8, seen.at_limit_16))
        # The baseline has no state from token to token, and is not made to write.
        if isinstance(model, MatMulFreeLM) and (last or self.step % SAMPLE_STEPS == 0):
            text = self.validation.write(model, self.state.seed)
            self.samples.append(Sample(self.step, text))
            if not bar.disable:
                shown = " ".join(text.split())
                bar.write(
                    f"step {self.step}, {bits_per_byte:.3f} bits per byte: {shown}", sys.stderr
                )
        return self.best_step == self.step

    def _is_time_to_plan(self, seconds: float) -> bool:
        """Whether ``minutes`` becomes a number of steps after the step that begins now.

        Of several processes the first decides for all (``_train_step``).
        """
        if self.minutes is None:
            return False
        measured = self.state.began + MEASURED_STEPS
        if self.step + 1 <= measured:
            return self.step + 1 == measured
        return seconds - self.planned[0] >= PLAN_SECONDS

    def _planned_steps(self, seconds: float) -> int:
        """Steps that fit, by the speed since the last plan; at most the recipe's."""
        assert self.minutes is not None
        before, step = self.planned
        self.planned = (seconds, self.step)
        each = max(seconds - before, 1e-9) / (self.step - step)
        # A float, which may be infinite, until it is at most the recipe's steps.
        most = float(self.state.began + self.recipe.steps - self.step)
        fitting = min(most, max(0.0, self.minutes * 60 - seconds) / each)
        # The first process decides for all.
        planned = [self.step + int(fitting)]
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

    def _train_step(self, batch: Batch, asked_to_stop: int, plans: bool) -> tuple[float, int, bool]:
        """A step; gives its loss, the signal that asked this or another process to stop, and
        whether the first process plans anew.
        """
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = group["times"] * rate
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        parts = self._own_parts(batch)
        for number, rows in enumerate(parts):
            # Gradients of processes are added up once, with the last part; if sharded with every
            # part, so that none is ever whole.
            waits = number < len(parts) - 1 and not self.sharded
            with self.accelerator.no_sync(self.model) if waits else nullcontext():
                learned, loss = self._part_loss(batch, rows)
                # DDP and FSDP take the mean over processes.
                self.accelerator.backward(learned * self.state.processes)
            total += loss.detach()
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        # In one message: all processes stop, or none; and all plan, or none.
        asked = torch.full_like(total, float(asked_to_stop > 0))
        anew = torch.full_like(total, float(plans and self.accelerator.is_main_process))
        value, stops, plan = map(
            float, self.accelerator.reduce(torch.stack([total, asked, anew]), "sum").unbind()
        )
        if not math.isfinite(value):
            raise InputError(f"the loss became {value} at step {self.step}: lower learning_rate")
        self.rows.append((self.step, value, rate))
        return value, (asked_to_stop or signal.SIGTERM) if stops else 0, plan > 0

    def _own_parts(self, batch: Batch) -> list[NDArray[np.intp]]:
        """Rows of a batch that this process runs, one part after another."""
        count = self.recipe.accumulate
        parts = np.array_split(np.arange(len(batch.ids)), self.state.processes * count)
        own = self.accelerator.process_index * count
        return parts[own : own + count]

    def _part_loss(self, batch: Batch, rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """The part's share of two means over the whole batch's scored positions, in nats: of what
        is learned from, text and teacher; and of the text alone, which is what is reported.
        """
        ids, targets, mask = (
            torch.from_numpy(array[rows]).to(self.device)
            for array in (batch.ids, batch.targets, batch.mask)
        )
        share = float(batch.mask[rows].sum() / batch.mask.sum())
        scored = mask if not batch.mask.all() else None
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        ):
            if self.teacher is None:
                mean = self.loss(self.model, ids, targets, scored)
                return mean * share, mean * share
            expected = self.teacher.expects(ids)
            mean, taught = self.loss(self.model, ids, targets, scored, expected)
        own = self.recipe.teacher_share
        return ((1 - own) * mean + own * taught) * share, mean * share

    def _accuracy(self, batch: Batch) -> float:
        """Share of exact examples, in the contract's arithmetic."""
        logits = logits_of(self.own_model, batch.ids)
        return batch.num_exact(logits.argmax(dim=-1).numpy()) / len(batch.ids)

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

    def _save_best(self) -> None:
        """Save the present model as the best, and nothing else; who calls it: as ``_save``."""
        if self.validation is not None and isinstance(self.own_model, MatMulFreeLM):
            _, self.scale = self.validation.ranges(self.own_model)
        writes = self.accelerator.is_main_process
        weights, _ = gather(self.own_model, self.own_optimizer, keep=writes)
        if writes:
            save_model(self.folder, replace(self.state, weights=self._kept(weights)))

    def _kept(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of the model that is kept."""
        if self.scale == 1:
            return weights
        return {
            name: weight * self.scale if MatMulFreeLM.makes_residual(name) else weight
            for name, weight in weights.items()
        }

    def _write(self, folder: Path, state: TrainingState) -> None:
        # The tables first: a resumed run drops rows that its state does not reach, but could not
        # make up for those that a kill between the two had lost.
        write_rows(folder / METRICS_NAME, "step,loss,learning_rate", self.rows)
        if self.followed is not None:
            write_rows(folder / ACCURACY_NAME, "step,training,held_out", self.accuracies)
        if self.validations:
            write_rows(folder / VALIDATION_NAME, VALIDATION_HEADER, self.validations)
        if self.ranges:
            write_rows(folder / RANGES_NAME, RANGES_HEADER, self.ranges)
        if self.samples:
            write_samples(folder / SAMPLES_NAME, self.samples)
        # The state before the record and the config of its plan, which without it would be those of
        # another's; the record before the config, which is part of it once the next plan begins.
        save_state(folder, state)
        if not self.described:
            write_provenance(folder, self.provenance)
            describe_checkpoint(folder, self.config)
            self.described = True
        # What is evaluated and exported is the best model of those that were validated.
        if self.best_step in (None, self.step):
            save_model(folder, replace(state, weights=self._kept(state.weights)))


def _validation(config: RunConfig, corpus: Corpus | None) -> Validation | None:
    """What a run of text is validated on; None for a task."""
    if corpus is None:
        return None
    recipe = config.recipe
    # As many at a time as there is memory for in training, or a few short ones more.
    rows = max(1, recipe.batch_size // recipe.accumulate, 256 // recipe.length)
    return Validation(corpus, text_tokenizer(config.tokenizer), length=recipe.length, rows=rows)


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
