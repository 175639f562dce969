"""Going on with a checkpoint: exactly where a run stood, or with a new plan."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmfree.errors import InputError
from mmfree.text.sources import DEFAULT_FIELD, is_shards
from mmfree.training.checkpoint import (
    CHECKPOINT_NAMES,
    MODEL_NAME,
    CheckpointError,
    TrainingState,
    load_config,
    load_tensors,
    load_training_state,
)
from mmfree.training.provenance import Provenance, read_provenance
from mmfree.training.recipe import CONFIG_NAME, TRAINING_NAME, RunConfig


def refuse_to_replace(folder: Path, force: bool) -> None:
    """Raise CheckpointError if a checkpoint in the folder would replace what is there.

    ``force`` allows it to replace another checkpoint, and files named like its own; never shards.
    """
    if is_shards(folder):
        raise CheckpointError(
            f"{folder}: holds token shards, which a checkpoint does not replace; give another --out"
        )
    if force:
        return
    if (folder / CONFIG_NAME).exists():
        raise CheckpointError(
            f"{folder}: holds a checkpoint already; --resume goes on with it, --continue trains it"
            " further, --force replaces it"
        )
    for name in CHECKPOINT_NAMES:
        if (folder / name).exists():
            raise CheckpointError(
                f"{folder / name}: in the place of a checkpoint's own file; give another --out, or"
                " --force to replace it"
            )


def text_of(
    folder: Path, data: list[Path], field: str | None, *, goes_on: bool
) -> tuple[list[Path], str]:
    """What a run learns from, and the field of its records.

    That is ``data``; without it what the checkpoint that goes on learned from, else the built-in
    text (no path).

    Raises
    ------
    InputError
        If ``field`` is given without ``data``, or the text came through a pipe.
    """
    if field is not None and not data:
        raise InputError("--field is of the records of --data: give both, or neither")
    before = read_provenance(folder) if goes_on and not data else None
    return (data, field or DEFAULT_FIELD) if before is None else (before.paths, before.field)


def state_to_resume(folder: Path, config: RunConfig, asked: TrainingState) -> TrainingState:
    """What the checkpoint stored, if it is of the run that is asked for.

    Raises
    ------
    CheckpointError
        If there is none, or it is of another run; the message says in what it differs.
    """
    before = load_config(folder)
    state = load_training_state(folder)
    # The state says itself which config it is of: a kill may leave the config of an earlier plan.
    same = state.config == asked.config if state.config else before == config
    if not same:
        raise CheckpointError(
            f"{folder}: the checkpoint was made with another config; resume with the same preset or"
            " file and options, train it further with --continue, or train into another folder"
        )
    if state.corpus != asked.corpus:
        raise CheckpointError(
            f"{folder}: the checkpoint was trained on another text, or on the same in another form"
            " (shards, or plain); resume with the same --data, or train further on another text"
            " with --continue"
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


def state_to_extend(folder: Path, config: RunConfig, asked: TrainingState) -> TrainingState:
    """The start of a new plan: weights and moments of a checkpoint, whose steps are counted on.

    A checkpoint that was converted from a Hugging Face folder has weights alone: it begins at
    step 0.

    Raises
    ------
    CheckpointError
        If there is no checkpoint, or its model, task or tokenizer is another.
    """
    before = load_config(folder)
    # A task or a tokenizer brings sizes of its own: the reason comes before them.
    for what, old, new in (
        ("task", before.recipe.task, config.recipe.task),
        ("tokenizer", before.subword, config.subword),
        ("architecture", before.architecture, config.architecture),
        ("model", before.model, config.model),
    ):
        if old != new:
            shown = "" if what == "tokenizer" else f": {_shown(old)}, not {_shown(new)}"
            raise CheckpointError(
                f"{folder}: the checkpoint has another {what}{shown}; --continue changes recipe and"
                " text alone"
            )
    if (folder / TRAINING_NAME).exists():
        found = load_training_state(folder)
        step, weights, moments = found.step, found.weights, found.moments
    else:
        step, weights, moments = 0, load_tensors(folder / MODEL_NAME), {}
    return replace(
        asked,
        step=step,
        began=step,
        steps=step + config.recipe.steps,
        weights=weights,
        moments=moments,
    )


def _shown(value: Any) -> str:
    return str(value if isinstance(value, str) else asdict(value))


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
    }
    return (*before.earlier, plan)
