"""Going on with a checkpoint: exactly where a run stood, or with a new plan."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmfree.training.checkpoint import TrainingState, load_tensors, load_training_state
from mmfree.training.folder import (
    MODEL_NAME,
    CheckpointError,
    config_sha256,
    load_config,
    refuse_another_config,
    refuse_another_model,
)
from mmfree.training.metrics import RANGES_NAME, VALIDATION_NAME, best_step, read_rows
from mmfree.training.provenance import Provenance, read_provenance
from mmfree.training.recipe import TRAINING_NAME, RunConfig


def state_to_resume(folder: Path, config: RunConfig, asked: TrainingState) -> TrainingState:
    """What the checkpoint stored, if it is of the run that is asked for.

    Raises
    ------
    CheckpointError
        If there is none, or it is of another run; the message says in what it differs.
    """
    load_config(folder)
    state = load_training_state(folder)
    refuse_another_config(folder, config, state.config)
    if state.corpus != asked.corpus:
        raise CheckpointError(
            f"{folder}: the checkpoint was trained on another text, or on the same in another form"
            " (shards, or plain); resume with the same --data, or train further on another text"
            " with --continue"
        )
    if state.teacher != asked.teacher:
        if not asked.teacher:
            how = "by a teacher: say with --teacher where it is"
        elif state.teacher:
            how = "by another teacher; resume with the same --teacher, or leave it out"
        else:
            how = "without a teacher; leave --teacher out, or train it further with --continue"
        raise CheckpointError(f"{folder}: the checkpoint was trained {how}")
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


def state_to_extend(folder: Path, config: RunConfig, asked: TrainingState) -> TrainingState:
    """The start of a new plan: weights and moments of a checkpoint, whose steps are counted on.

    A checkpoint that was converted from a Hugging Face folder has weights alone: it begins at
    step 0.

    Raises
    ------
    CheckpointError
        If there is no checkpoint, or its model, task or tokenizer is another.
    """
    refuse_another_model(folder, config)
    since = replaced = 0
    if (folder / TRAINING_NAME).exists():
        found = load_training_state(folder)
        step, weights, moments = found.step, found.weights, found.moments
        if _compares(folder, found, config, asked):
            since = found.since
        else:
            since = step
            rows, ranges = (
                read_rows(folder / name, step + 1) for name in (VALIDATION_NAME, RANGES_NAME)
            )
            best = best_step(rows, found.since, ranges)
            replaced = best or 0
    else:
        step, weights, moments = 0, load_tensors(folder / MODEL_NAME), {}
    return replace(
        asked,
        step=step,
        began=step,
        since=since,
        replaced=replaced,
        steps=step + config.recipe.steps,
        weights=weights,
        moments=moments,
    )


def _compares(folder: Path, found: TrainingState, config: RunConfig, asked: TrainingState) -> bool:
    """Whether the best model so far stays until one of the new plan has a smaller loss: it is
    there, and losses are of the same held-out text, in windows of the same length.
    """
    before = load_config(folder)
    # A kill may have left the config of the plan before beside the state.
    known = found.config in ("", config_sha256(before))
    same = found.corpus == asked.corpus and before.recipe.length == config.recipe.length
    return known and same and (folder / MODEL_NAME).exists()


def earlier_plans(folder: Path, state: TrainingState) -> tuple[Any, ...]:
    """What a checkpoint has behind it when the plan begins of which ``state`` is."""
    before = read_provenance(folder) or Provenance()
    if state.began == before.began:
        return before.earlier
    # Its record is still that of the plan before, and so is its config.
    plan = {
        "steps": state.began,
        "recipe": asdict(load_config(folder).recipe),
        "sources": list(before.sources),
        "field": before.field,
    } | ({"teacher": before.teacher} if before.teacher else {})
    return (*before.earlier, plan)
