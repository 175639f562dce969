"""A checkpoint's folder, and what a run into it is asked for: all that is checked without torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmfree.errors import InputError, ToolMissing
from mmfree.extras import how_to_install
from mmfree.files.atomic import read_json
from mmfree.files.claim import claimed
from mmfree.files.folders import FolderKind
from mmfree.text.corpus import Corpus
from mmfree.text.loading import load_corpus
from mmfree.text.sources import DEFAULT_FIELD, is_shards
from mmfree.text.tokenizer import text_tokenizer
from mmfree.training.metrics import (
    ACCURACY_NAME,
    CURVE_NAME,
    METRICS_NAME,
    RANGES_NAME,
    SAMPLES_NAME,
    VALIDATION_NAME,
)
from mmfree.training.provenance import PROVENANCE_NAME, read_provenance
from mmfree.training.recipe import CONFIG_NAME, TOKENIZER_NAME, TRAINING_NAME, Recipe, RunConfig

MODEL_NAME = "model.safetensors"
CHECKPOINT_NAMES = (
    TOKENIZER_NAME,
    TRAINING_NAME,
    MODEL_NAME,
    PROVENANCE_NAME,
    METRICS_NAME,
    ACCURACY_NAME,
    VALIDATION_NAME,
    RANGES_NAME,
    SAMPLES_NAME,
    CURVE_NAME,
)
"""Files of a checkpoint beside its config."""

CHECKPOINT_FOLDER = FolderKind.of(CONFIG_NAME, *CHECKPOINT_NAMES)
"""A checkpoint that is written whole: the first of a run, or one with no training behind it."""

MAX_SEED = (1 << 63) - 1
"""Largest seed: torch and NumPy take it, and a checkpoint's metadata hold it."""


SHARD_ALONE = (
    "--shard spreads a model over processes, and this run has one: start it with torchrun"
    " --nproc-per-node N"
)
"""What is said where one process is to share a model with nobody."""


class CheckpointError(InputError):
    """A checkpoint folder that is incomplete, damaged or of another model."""


def load_config(folder: Path) -> RunConfig:
    """The run's configuration; CheckpointError if the folder is no checkpoint."""
    if not (folder / CONFIG_NAME).is_file():
        raise CheckpointError(f"{folder}: no checkpoint: {CONFIG_NAME} is missing")
    try:
        data = read_json(folder / CONFIG_NAME)
        if isinstance(data, dict) and data.get("model_type") == "mmfree":
            raise InputError(
                f"{folder}: a Hugging Face folder: `mmfree export {folder} --format checkpoint"
                " --out RUN` makes a checkpoint of it"
            )
        return RunConfig.from_dict(data, str(folder / CONFIG_NAME))
    except InputError as error:
        raise CheckpointError(str(error)) from None


def check_options(
    folder: Path, *, seed: int, minutes: float | None, resume: bool, extend: bool, force: bool
) -> None:
    """InputError if an option of a run is out of range, or they exclude each other."""
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


def check_parts(recipe: Recipe, processes: int) -> None:
    """InputError if a batch has too few sequences for the parts it is cut into."""
    if (parts := processes * recipe.accumulate) > recipe.batch_size:
        raise InputError(
            f"batch_size {recipe.batch_size} cannot be cut into {parts} parts ({processes}"
            f" processes, accumulate {recipe.accumulate})"
        )


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


def teacher_of(folder: Path, teacher: Path | None, *, resume: bool) -> Path | None:
    """The teacher's folder; of a run that is resumed its own, if none is given."""
    if teacher is not None or not resume:
        return teacher
    before = read_provenance(folder)
    return Path(before.teacher) if before is not None and before.teacher else None


def check_teacher(config: RunConfig, folder: Path, teacher: Path | None) -> None:
    """CheckpointError if a run into ``folder`` cannot learn from this teacher."""
    if teacher is None:
        return
    if teacher.exists() and folder.exists() and teacher.samefile(folder):
        raise CheckpointError(f"{teacher}: a run cannot be its own teacher; give another --teacher")
    known = load_config(teacher)
    if known.recipe.task != config.recipe.task:
        raise CheckpointError(
            f"{teacher}: a teacher of task {known.recipe.task}, and the run learns"
            f" {config.recipe.task}"
        )
    if known.subword != config.subword:
        raise CheckpointError(
            f"{teacher}: the teacher has another tokenizer, so what it expects is of other tokens;"
            " train one with the same --tokenizer"
        )
    if known.architecture == "transformer" and known.recipe.length < config.recipe.length:
        raise CheckpointError(
            f"{teacher}: a Transformer that has learned {known.recipe.length} positions, fewer than"
            f" the {config.recipe.length} of a window of this run: lower --length"
        )
    if not (teacher / MODEL_NAME).is_file():
        raise CheckpointError(f"{teacher / MODEL_NAME}: missing; the checkpoint is incomplete")


def config_sha256(config: RunConfig) -> str:
    """Identity of a run's config, by which its state recognizes it."""
    return hashlib.sha256(as_json(config.to_dict())).hexdigest()


def as_json(data: object) -> bytes:
    """JSON as a checkpoint's files hold it."""
    return (json.dumps(data, indent=1) + "\n").encode()


def refuse_another_config(folder: Path, config: RunConfig, recorded: str) -> None:
    """CheckpointError if a run that is to be resumed had another config.

    ``recorded``: the digest that its state holds; "" in checkpoints of earlier versions. The state
    says itself which config it is of: a kill may leave the config of an earlier plan beside it.
    """
    before = load_config(folder)
    same = recorded == config_sha256(config) if recorded else before == config
    if not same:
        raise CheckpointError(
            f"{folder}: the checkpoint was made with another config; resume with the same preset or"
            " file and options, train it further with --continue, or train into another folder"
        )


def refuse_another_model(folder: Path, config: RunConfig) -> None:
    """CheckpointError if a checkpoint that is to be trained further has another model, task or
    tokenizer.
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


def _shown(value: Any) -> str:
    return str(value if isinstance(value, str) else value.to_dict())


def read_text_of(
    config: RunConfig, folder: Path, data: list[Path], field: str | None, *, goes_on: bool
) -> tuple[Corpus | None, list[Path], str]:
    """The text of a run (None for a task), where it is, and the field of its records.

    Raises
    ------
    InputError
        As ``text_of``; if the text cannot be used, or is given to a task.
    """
    sources, field = text_of(folder, data, field, goes_on=goes_on)
    recipe = config.recipe
    if recipe.task != "text":
        if sources:
            raise InputError(f"--data is for text; task {recipe.task} makes its own examples")
        return None, sources, field
    tokenizer = text_tokenizer(config.tokenizer)
    try:
        corpus = load_corpus(sources, tokenizer, minimum=recipe.length, field=field)
    except InputError as error:
        if not goes_on or data or not sources:
            raise
        raise InputError(
            f"{error} (what the checkpoint was trained on; --data says where it is now)"
        ) from None
    return corpus, sources, field


def check_place(folder: Path, *, resume: bool, extend: bool, force: bool) -> None:
    """CheckpointError if a run cannot go on with what is in the folder, or must not replace it.

    Several processes look once they have joined, and one of them speaks.
    """
    if _joins_others():
        return
    if not (resume or extend):
        refuse_to_replace(folder, force)
        return
    load_config(folder)
    needed = TRAINING_NAME if resume or not (folder / MODEL_NAME).exists() else MODEL_NAME
    if not (folder / needed).exists():
        raise CheckpointError(f"{folder / needed}: missing; the checkpoint is incomplete")


@contextmanager
def prepared(
    config: RunConfig,
    folder: Path,
    *,
    data: list[Path],
    field: str | None,
    teacher: Path | None,
    resume: bool,
    extend: bool,
    shard: bool,
    tensorboard: bool,
) -> Iterator[Corpus | None]:
    """The text of a run, read, while its folder is claimed: what is wrong is found before torch is
    imported, which takes seconds.

    Where several processes are started nothing is done: they look once they have joined.

    Raises
    ------
    InputError
        As ``mmfree.training.train.train``, for all that does not need the checkpoint's tensors.
    ToolMissing
        If ``tensorboard`` is asked for and not installed.
    """
    if _joins_others():
        yield None
        return
    if shard:
        raise InputError(SHARD_ALONE)
    if tensorboard and find_spec("tensorboard") is None:
        raise ToolMissing(needs_tensorboard())
    check_parts(config.recipe, 1)
    if extend:
        refuse_another_model(folder, config)
    check_teacher(config, folder, teacher_of(folder, teacher, resume=resume))
    with claimed(folder):
        if resume:
            refuse_another_config(folder, config, _recorded_config(folder))
        yield read_text_of(config, folder, data, field, goes_on=resume or extend)[0]


def _joins_others() -> bool:
    """Whether this process was started as one of several (by torchrun, say)."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def needs_tensorboard() -> str:
    """What to say where TensorBoard is asked for and not there."""
    return f"--tensorboard: the package is missing: `{how_to_install('tensorboard')}` does that"


def _recorded_config(folder: Path) -> str:
    """The digest of the config that a checkpoint's state is of; "" if it does not say."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / TRAINING_NAME, framework="np") as file:
            return str((file.metadata() or {}).get("config", ""))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / TRAINING_NAME}: damaged: {error}") from None
