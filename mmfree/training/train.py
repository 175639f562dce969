"""Training: one process or many, exactly resumable, killable at any moment.

Processes come from `torchrun` or `accelerate launch`. Every process makes the whole batch of a
step, which depends on seed and step alone, and takes its own rows; gradients are added up (DDP, or
FSDP2: ``mmfree.training.sharding``), so the loss is that of the whole batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from mmfree.errors import InputError, ToolMissing
from mmfree.files.claim import claimed
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.text.corpus import Corpus
from mmfree.threads import as_many_threads, threads_asked_for
from mmfree.training.checkpoint import (
    MODEL_NAME,
    TrainingState,
    build_model,
    check_moments,
    config_sha256,
    is_out_of_memory,
    load_weights,
)
from mmfree.training.folder import (
    CheckpointError,
    check_options,
    check_parts,
    check_teacher,
    needs_tensorboard,
    read_text_of,
    refuse_to_replace,
    teacher_of,
    text_of,
)
from mmfree.training.loop import Run, TrainingResult
from mmfree.training.provenance import Provenance
from mmfree.training.recipe import SHORTEST_MEMORY, TRAINING_NAME, Recipe, RunConfig
from mmfree.training.resumption import earlier_plans, state_to_extend, state_to_resume
from mmfree.training.sharding import join_processes, restore_moments, shard_model
from mmfree.training.teacher import teacher_digest

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LOST = re.compile(r"connection (closed|reset)|peer|timed out|broken pipe", re.IGNORECASE)
"""What torch's errors say when another process has gone."""


def train(
    config: RunConfig,
    folder: Path,
    *,
    data: list[Path] | None = None,
    field: str | None = None,
    teacher: Path | None = None,
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = False,
    extend: bool = False,
    force: bool = False,
    stop_at: int | None = None,
    tensorboard: bool = False,
    shard: bool = False,
    corpus: Corpus | None = None,
) -> TrainingResult:
    """Train a model into a checkpoint folder, which no other process trains into meanwhile.

    Parameters
    ----------
    config
        Model and recipe.
    folder
        The checkpoint; metrics.csv in it holds step, loss and learning rate, accuracy.csv (modular
        addition) accuracy on training and held-out pairs, training.json where the text was,
        validation.csv loss and bits per byte on held-out text, samples.jsonl texts written along
        the way. Of text the model that is kept is the best of those that were validated.
    data
        Text files; None or empty: the built-in corpus, or what the checkpoint that goes on was
        trained on. Only for text.
    field
        Of a record of ``data``, that holds its text; None: "text".
    teacher
        Checkpoint of a model with the same tokenizer, whose probabilities have the recipe's
        ``teacher_share`` of the loss; None: no teacher, or that of the run that is resumed.
    seed
        Of weights and batches. A batch depends on seed and step alone.
    minutes
        Plan only as many steps as fit in this time, so that the learning rate still falls to 0: by
        the speed of the first 20, and again every ten seconds by that of the latest. A run that is
        resumed has its last plan.
    resume
        Go on from the checkpoint; the result equals that of a run that was never stopped.
    extend
        Train the checkpoint further: the recipe's steps come on top of those that are done, and the
        rate rises and falls anew. Recipe and text may be others; on the same text, in windows of
        the same length, the best model so far is kept until one is better.
    force
        Replace an existing checkpoint.
    stop_at
        Stop after this step as if killed after a save (for tests).
    tensorboard
        Also write events for TensorBoard into the folder ``tensorboard`` of the checkpoint.
    shard
        Spread weights, gradients and moments over the processes, of which there must be several.
    corpus
        The text, where it was read already (``mmfree.training.folder.prepared``).

    Raises
    ------
    CheckpointError
        If the folder holds a checkpoint and neither ``resume``, ``extend`` nor ``force`` is given,
        or there is none to go on with, or one of another config, text, teacher or number of
        processes, or one that was sharded if this run is not; if the teacher is of another task or
        tokenizer, the run itself, or no whole checkpoint.
    InputError
        If an option is out of range, the data cannot be used, another process trains into the
        folder, a step does not fit into memory, or training diverges.
    Stopped
        If Ctrl-C or SIGTERM came: after the step that was under way, and a save.
    ToolMissing
        If ``tensorboard`` is asked for and not installed.
    """
    goes_on = resume or extend
    check_options(folder, seed=seed, minutes=minutes, resume=resume, extend=extend, force=force)
    accelerator = join_processes(shard=shard)
    check_parts(config.recipe, accelerator.num_processes)
    with ExitStack() as stack:
        stack.enter_context(_claimed_by_first(folder, accelerator))
        if not goes_on:
            refuse_to_replace(folder, force)
        teacher = teacher_of(folder, teacher, resume=resume)
        check_teacher(config, folder, teacher)
        if corpus is None:
            corpus, sources, field = read_text_of(
                config, folder, data or [], field, goes_on=goes_on
            )
        else:
            sources, field = text_of(folder, data or [], field, goes_on=goes_on)
        asked = TrainingState(
            step=0,
            steps=config.recipe.steps,
            began=0,
            since=0,
            replaced=0,
            seed=seed,
            processes=accelerator.num_processes,
            sharded=shard,
            threads=torch.get_num_threads(),
            corpus=corpus.digest if corpus is not None else "",
            config=config_sha256(config),
            teacher=teacher_digest(teacher),
            weights={},
            moments={},
        )
        state = asked
        if resume:
            state = state_to_resume(folder, config, asked)
        elif extend:
            state = state_to_extend(folder, config, asked)
        if resume and accelerator.device.type == "cpu":
            stack.enter_context(as_many_threads(_threads_of(folder, state, asked)))
        earlier = earlier_plans(folder, state) if goes_on else ()
        torch.manual_seed(seed)
        model = _untrained(config)
        if goes_on:
            source = folder / (TRAINING_NAME if state.moments or resume else MODEL_NAME)
            load_weights(source, state.weights, model)
            check_moments(source, state, model)
        # Before the optimizer, which must see the shares alone.
        if shard:
            shard_model(model, accelerator)
        optimizer = torch.optim.AdamW(
            _by_rate(model, config.recipe),
            lr=0.0,
            weight_decay=config.recipe.weight_decay,
            fused=True,
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
            Provenance.of(
                corpus, sources, field, began=state.began, earlier=earlier, teacher=teacher
            ),
            teacher,
            minutes=minutes,
            replaces=not goes_on,
        )
        # Nobody writes before all have looked.
        accelerator.wait_for_everyone()
        writes_events = tensorboard and accelerator.is_main_process
        on_cpu = accelerator.device.type == "cpu"
        try:
            # What is compiled is compiled for a number of threads.
            if on_cpu and accelerator.num_processes == 1 and not (resume or config.recipe.compile):
                stack.enter_context(as_many_threads(run.choose_threads()))
            return run.go(stop_at, _events(folder) if writes_events else None)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise _too_large(config.recipe) from None
            # How torch reports a process that is gone; a bug of ours has another name.
            if accelerator.num_processes == 1 or not _LOST.search(str(error)):
                raise
            raise InputError(
                "another process of this run has ended: what it says is the reason; --resume goes"
                " on from the last save"
            ) from None


def _untrained(config: RunConfig) -> nn.Module:
    """The model as training begins."""
    model = build_model(config)
    longest = config.recipe.longest_memory
    if longest and isinstance(model, MatMulFreeLM):
        model.spread_memory(SHORTEST_MEMORY, longest)
    return model


def _by_rate(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups of parameters for the optimizer, each of which has ``times`` the learning rate."""
    parts: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        own = name == "embedding.weight" and isinstance(model, MatMulFreeLM)
        parts.setdefault(recipe.embedding_rate if own else 1.0, []).append(parameter)
    return [{"params": params, "times": times} for times, params in parts.items()]


def _too_large(recipe: Recipe) -> InputError:
    """The error for a step that does not fit into memory."""
    return InputError(
        f"not enough memory for a step of {recipe.batch_size:,} x {recipe.length:,} tokens (--batch"
        f" x --length) in {recipe.accumulate:,} part(s): lower --batch or --length, or raise"
        " accumulate in the config, which cuts a batch into more parts"
    )


def _threads_of(folder: Path, state: TrainingState, asked: TrainingState) -> int:
    """Threads of the run that is resumed.

    Raises
    ------
    CheckpointError
        If the environment asks for another number than it had.
    """
    # Checkpoints of earlier versions do not say.
    if state.threads and state.threads != asked.threads and (said := threads_asked_for()):
        raise CheckpointError(
            f"{folder}: trained with {state.threads} threads, and OMP_NUM_THREADS is {said}: sums"
            f" would differ; leave it out, or set it to {state.threads}"
        )
    return state.threads or asked.threads


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


def _events(folder: Path) -> SummaryWriter:
    """A writer of events where TensorBoard reads them."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ToolMissing(needs_tensorboard()) from None
    return SummaryWriter(str(folder / "tensorboard"))
