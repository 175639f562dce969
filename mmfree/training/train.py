"""Training: one process or many, exactly resumable, killable at any moment.

Processes come from `torchrun` or `accelerate launch`. Every process makes the whole batch of a
step, which depends on seed and step alone, and takes its own rows; gradients are added up (DDP, or
FSDP2: ``mmfree.training.sharding``), so the loss is that of the whole batch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from mmfree.errors import InputError, ToolMissing
from mmfree.files.claim import claimed
from mmfree.text.corpus import Corpus
from mmfree.text.loading import load_corpus
from mmfree.text.tokenizer import text_tokenizer
from mmfree.training.checkpoint import (
    MODEL_NAME,
    TrainingState,
    build_model,
    check_moments,
    config_sha256,
    load_weights,
)
from mmfree.training.loop import Run, TrainingResult
from mmfree.training.provenance import Provenance
from mmfree.training.recipe import TRAINING_NAME, Recipe, RunConfig
from mmfree.training.resumption import (
    earlier_plans,
    refuse_to_replace,
    state_to_extend,
    state_to_resume,
    text_of,
)
from mmfree.training.sharding import join_processes, restore_moments, shard_model

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LOST = re.compile(r"connection (closed|reset)|peer|timed out|broken pipe", re.IGNORECASE)
"""What torch's errors say when another process has gone."""

MAX_SEED = (1 << 63) - 1
"""Largest seed: torch and NumPy take it, and a checkpoint's metadata hold it."""


def train(
    config: RunConfig,
    folder: Path,
    *,
    data: list[Path] | None = None,
    field: str | None = None,
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = False,
    extend: bool = False,
    force: bool = False,
    stop_at: int | None = None,
    tensorboard: bool = False,
    shard: bool = False,
) -> TrainingResult:
    """Train a model into a checkpoint folder, which no other process trains into meanwhile.

    Parameters
    ----------
    config
        Model and recipe.
    folder
        The checkpoint; metrics.csv in it holds step, loss and learning rate, accuracy.csv (modular
        addition) accuracy on training and held-out pairs, training.json where the text was.
    data
        Text files; None or empty: the built-in corpus, or what the checkpoint that goes on was
        trained on. Only for text.
    field
        Of a record of ``data``, that holds its text; None: "text".
    seed
        Of weights and batches. A batch depends on seed and step alone.
    minutes
        Plan only as many steps as fit in this time on this machine (measured over the first 20), so
        that the learning rate still falls to 0.
    resume
        Go on from the checkpoint; the result equals that of a run that was never stopped.
    extend
        Train the checkpoint further: the recipe's steps come on top of those that are done, and the
        rate rises and falls anew. Recipe and text may be others.
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
        If the folder holds a checkpoint and neither ``resume``, ``extend`` nor ``force`` is given,
        or there is none to go on with, or one of another config, text or number of processes, or
        one that was sharded if this run is not.
    InputError
        If an option is out of range, the data cannot be used, another process trains into the
        folder, or training diverges.
    Stopped
        If Ctrl-C or SIGTERM came: after the step that was under way, and a save.
    ToolMissing
        If ``tensorboard`` is asked for and not installed.
    """
    goes_on = resume or extend
    _check_options(folder, seed=seed, minutes=minutes, resume=resume, extend=extend, force=force)
    accelerator = join_processes(shard=shard)
    _check_parts(config.recipe, accelerator.num_processes)
    with _claimed_by_first(folder, accelerator):
        if not goes_on:
            refuse_to_replace(folder, force)
        sources, field = text_of(folder, data or [], field, goes_on=goes_on)
        try:
            corpus = _corpus(config, sources, field)
        except InputError as error:
            if not goes_on or data or not sources:
                raise
            raise InputError(
                f"{error} (what the checkpoint was trained on; --data says where it is now)"
            ) from None
        asked = TrainingState(
            step=0,
            steps=config.recipe.steps,
            began=0,
            seed=seed,
            processes=accelerator.num_processes,
            sharded=shard,
            corpus=corpus.digest if corpus is not None else "",
            config=config_sha256(config),
            weights={},
            moments={},
        )
        state = asked
        if resume:
            state = state_to_resume(folder, config, asked)
        elif extend:
            state = state_to_extend(folder, config, asked)
        earlier = earlier_plans(folder, state) if goes_on else ()
        torch.manual_seed(seed)
        model = build_model(config)
        if goes_on:
            source = folder / (TRAINING_NAME if state.moments or resume else MODEL_NAME)
            load_weights(source, state.weights, model)
            check_moments(source, state, model)
        # Before the optimizer, which must see the shares alone.
        if shard:
            shard_model(model, accelerator)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=0.0, weight_decay=config.recipe.weight_decay, fused=True
        )
        restore_moments(state, model, optimizer)
        run = Run(
            config,
            folder,
            accelerator,
            model,
            optimizer,
            corpus,
            # They are in the model and the optimizer now: no second copy in memory.
            replace(state, weights={}, moments={}),
            Provenance.of(corpus, sources, field, began=state.began, earlier=earlier),
            minutes=minutes,
            replaces=not goes_on,
        )
        # Nobody writes before all have looked.
        accelerator.wait_for_everyone()
        writes_events = tensorboard and accelerator.is_main_process
        try:
            return run.go(stop_at, _events(folder) if writes_events else None)
        except RuntimeError as error:
            # How torch reports a process that is gone; a bug of ours has another name.
            if accelerator.num_processes == 1 or not _LOST.search(str(error)):
                raise
            raise InputError(
                "another process of this run has ended: what it says is the reason; --resume goes"
                " on from the last save"
            ) from None


def _check_options(
    folder: Path, *, seed: int, minutes: float | None, resume: bool, extend: bool, force: bool
) -> None:
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise InputError(f"--minutes must be positive, got {minutes}")
    if minutes is not None and resume:
        raise InputError("--minutes plans a run from its start; leave it out with --resume")
    if resume + extend + force > 1:
        raise InputError(
            "--resume goes on with a run, --continue trains it further, --force replaces it: give"
            " one of them"
        )
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"--seed must be in 0..{MAX_SEED}, got {seed}")
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        what = "a file" if folder.exists() else "a link to nothing"
        raise InputError(f"{folder}: {what}; a checkpoint is a folder")


def _check_parts(recipe: Recipe, processes: int) -> None:
    if (parts := processes * recipe.accumulate) > recipe.batch_size:
        raise InputError(
            f"batch_size {recipe.batch_size} cannot be cut into {parts} parts ({processes}"
            f" processes, accumulate {recipe.accumulate})"
        )


@contextmanager
def _claimed_by_first(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """The first process claims the folder; if it cannot, all raise the same error."""
    refused: list[Exception | None] = [None]
    with ExitStack() as stack:
        if accelerator.is_main_process:
            try:
                stack.enter_context(claimed(folder))
            except (InputError, OSError) as error:
                refused = [error]
        if accelerator.num_processes > 1:
            broadcast_object_list(refused)
        if refused[0] is not None:
            raise refused[0]
        yield


def _corpus(config: RunConfig, paths: list[Path], field: str) -> Corpus | None:
    if config.recipe.task == "text":
        return load_corpus(
            paths, text_tokenizer(config.tokenizer), minimum=config.recipe.length, field=field
        )
    if paths:
        raise InputError(f"--data is for text; task {config.recipe.task} makes its own examples")
    return None


def _events(folder: Path) -> SummaryWriter:
    """A writer of events where TensorBoard reads them."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ToolMissing(
            "--tensorboard: the package is missing: pip install 'mmfree[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))
