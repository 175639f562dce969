"""Checkpoints: a folder with the model, its config and tokenizer, and what a resumed run needs.

Every file is replaced atomically, and each is complete by itself: ``training.safetensors`` has its
own copy of the weights beside the optimizer's state. So whenever a run is killed, evaluation finds
a whole model and ``--resume`` a whole state, even if they are from different steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from mmfree.contract.tensor_names import without_wrappers
from mmfree.errors import InputError
from mmfree.files.atomic import read_json, write_atomically
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.transformer import Transformer
from mmfree.text.tokenizer import Tokenizer
from mmfree.text.tokenizers import tokenizer_from_dict
from mmfree.training.folder import CHECKPOINT_FOLDER as CHECKPOINT_FOLDER
from mmfree.training.folder import MODEL_NAME as MODEL_NAME
from mmfree.training.folder import CheckpointError as CheckpointError
from mmfree.training.folder import as_json
from mmfree.training.folder import config_sha256 as config_sha256
from mmfree.training.folder import load_config as load_config
from mmfree.training.recipe import CONFIG_NAME, TOKENIZER_NAME, TRAINING_NAME, RunConfig

_NUMBERS = (
    *("step", "steps", "began", "since", "replaced"),
    *("seed", "processes", "sharded", "threads"),
)
"""Fields of TrainingState that are in the file's metadata as decimal numbers."""

_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""AdamW's state of a parameter: a count of steps, and two tensors of the parameter's shape."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with what belongs to it."""

    config: RunConfig
    model: MatMulFreeLM
    tokenizer: Tokenizer


@dataclass(frozen=True)
class TrainingState:
    """What exact resumption needs.

    Attributes
    ----------
    step, steps, began
        Steps done, and planned; step at which the plan began (not 0 after --continue).
    since, replaced
        Held-out losses of later steps compare, and the best of their models is kept: ``began``, or
        less if earlier plans were validated on the same text. Where theirs do not compare, the step
        of the best model that this plan replaces; 0: none.
    seed
        Of weights and batches.
    processes, sharded
        Processes of the run, and whether they shared the model (``mmfree.training.sharding``).
    threads
        Of each process, on which sums depend; 0 in checkpoints of earlier versions.
    corpus
        sha256 of the training text; "" without one.
    config
        sha256 of the plan's config (``config_sha256``); "" in checkpoints of earlier versions.
    teacher
        sha256 of the file with the teacher's weights; "" without one.
    weights
        By name.
    moments
        The optimizer's state by parameter name.
    """

    step: int
    steps: int
    began: int
    since: int
    replaced: int
    seed: int
    processes: int
    sharded: bool
    threads: int
    corpus: str
    config: str
    teacher: str
    weights: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]


def build_model(config: RunConfig) -> nn.Module:
    """An untrained model of a run.

    Raises
    ------
    InputError
        If the machine has not the memory for it.
    """
    try:
        if config.architecture == "transformer":
            return Transformer(config.model)
        return MatMulFreeLM(config.model)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"config: a model of {config.model.num_parameters:,} parameters needs more memory than"
            " this machine has; choose smaller sizes"
        ) from None


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch or NumPy did not get memory: on a CPU torch says it in words alone."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and "allocate" in str(error))


def describe_checkpoint(folder: Path, config: RunConfig) -> None:
    """Write what does not change while a plan is carried out."""
    _write_json(folder / TOKENIZER_NAME, config.tokenizer.to_dict())
    _write_json(folder / CONFIG_NAME, config.to_dict())


def save_state(folder: Path, state: TrainingState) -> None:
    """Replace what resumption needs, atomically."""
    tensors = {f"weights.{name}": tensor for name, tensor in state.weights.items()}
    for name, moments in state.moments.items():
        tensors |= {f"moments.{name}:{key}": tensor for key, tensor in moments.items()}
    metadata = {name: str(int(getattr(state, name))) for name in _NUMBERS} | {
        "corpus": state.corpus,
        "config": state.config,
        "teacher": state.teacher,
    }
    write_atomically(folder / TRAINING_NAME, save(tensors, metadata | {"format": "pt"}))


def save_model(folder: Path, state: TrainingState) -> None:
    """Replace the weights that are evaluated and exported, atomically."""
    write_atomically(folder / MODEL_NAME, save(state.weights, {"format": "pt"}))


def write_model(folder: Path, config: RunConfig, model: MatMulFreeLM, tokenizer: Tokenizer) -> None:
    """Write a checkpoint to run and export, but without what resuming its training needs."""
    _write_json(folder / CONFIG_NAME, config.to_dict())
    _write_json(folder / TOKENIZER_NAME, tokenizer.to_dict())
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write_atomically(folder / MODEL_NAME, save(weights, {"format": "pt"}))


def load_checkpoint(folder: Path) -> Checkpoint:
    """The model of a checkpoint folder, with its config and tokenizer.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or a tensor is missing, unexpected or of another shape; the
        message names it.
    """
    config = load_config(folder)
    if config.architecture != "matmul-free":
        raise CheckpointError(
            f"{folder}: a {config.architecture}, the baseline: it can be trained and compared, but"
            " not evaluated or exported"
        )
    model = load_kept_model(folder, config)
    assert isinstance(model, MatMulFreeLM)
    try:
        tokenizer = tokenizer_from_dict(read_json(folder / TOKENIZER_NAME))
    except InputError as error:
        raise CheckpointError(f"{folder / TOKENIZER_NAME}: {error}") from None
    return Checkpoint(config, model, tokenizer)


def load_kept_model(folder: Path, config: RunConfig) -> nn.Module:
    """The model of a checkpoint, of either architecture.

    Raises
    ------
    CheckpointError
        As ``load_checkpoint``, for what the model consists of.
    """
    path = folder / MODEL_NAME
    tensors = load_tensors(path)
    model = build_model(config)
    load_weights(path, tensors, model)
    for name, tensor in tensors.items():
        # Ternary weights would hide it: of NaN they are 0.
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path}: {name} holds values that are not finite: the training diverged, or the"
                " file is damaged; train again with a lower learning rate"
            )
    return model


def load_training_state(folder: Path) -> TrainingState:
    """What ``save_checkpoint`` stored for resumption.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged. Names and shapes of its tensors are checked when they
        are loaded into a model (``load_weights``, ``check_moments``).
    """
    path = folder / TRAINING_NAME
    tensors = load_tensors(path)
    with safe_open(path, framework="pt") as file:
        # Checkpoints that name neither were made by one process, which shared nothing.
        earlier = {"processes": "1", "sharded": "0", "began": "0", "config": "", "threads": "0"}
        metadata = earlier | (file.metadata() or {})
    # Each plan of theirs had a best model of its own.
    metadata = {"since": metadata["began"], "replaced": "0", "teacher": ""} | metadata
    step, steps, began, since, replaced, seed, processes, sharded, threads = _read_numbers(
        path, metadata
    )
    weights: dict[str, Tensor] = {}
    moments: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "weights":
            weights[rest] = tensor
        else:
            parameter, _, key = rest.rpartition(":")
            moments.setdefault(parameter, {})[key] = tensor
    return TrainingState(
        step=step,
        steps=steps,
        began=began,
        since=since,
        replaced=replaced,
        seed=seed,
        processes=processes,
        sharded=bool(sharded),
        threads=threads,
        corpus=metadata["corpus"],
        config=metadata["config"],
        teacher=metadata["teacher"],
        weights=weights,
        moments=moments,
    )


def _read_numbers(path: Path, metadata: dict[str, str]) -> list[int]:
    """The values of _NUMBERS, checked."""
    if missing := sorted({*_NUMBERS, "corpus"} - metadata.keys()):
        raise CheckpointError(f"{path}: damaged: {missing[0]} is missing in its metadata")
    for name in _NUMBERS:
        # Decimal, and short enough for 64 bits.
        if not re.fullmatch(r"[0-9]{1,19}", metadata[name]):
            found = repr(metadata[name][:24])
            raise CheckpointError(f"{path}: damaged: {name} is {found} in its metadata")
    numbers = [int(metadata[name]) for name in _NUMBERS]
    step, steps, began, since, replaced, _, processes, sharded, _ = numbers
    if not began <= step <= steps or processes < 1 or sharded > 1:
        raise CheckpointError(
            f"{path}: damaged: its metadata say step {step} of {steps}, begun at {began},"
            f" {processes} processes, sharded {sharded}"
        )
    if not replaced <= since <= began:
        raise CheckpointError(
            f"{path}: damaged: its metadata say that losses compare since step {since}, replaced"
            f" {replaced}, of a plan begun at {began}"
        )
    return numbers


def load_weights(path: Path, tensors: dict[str, Tensor], model: nn.Module) -> None:
    """Put the tensors of the file ``path`` into a model.

    Raises
    ------
    CheckpointError
        If names, shapes or kinds are not the model's.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if missing := sorted(set(wanted) - set(tensors)):
        raise CheckpointError(
            f"{path}: tensor {missing[0]} of shape {wanted[missing[0]]} is missing"
        )
    if unexpected := sorted(set(tensors) - set(wanted)):
        name = unexpected[0]
        raise CheckpointError(
            f"{path}: unexpected tensor {name} of shape {tuple(tensors[name].shape)}"
        )
    for name, shape in wanted.items():
        if (got := tuple(tensors[name].shape)) != shape:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {got}, the config needs {shape}"
            )
        if not tensors[name].is_floating_point():
            raise CheckpointError(
                f"{path}: tensor {name} must hold floats, got {tensors[name].dtype}"
            )
    model.load_state_dict(tensors)


def check_moments(path: Path, state: TrainingState, model: nn.Module) -> None:
    """Raise CheckpointError if the optimizer's moments are not those of the model's parameters."""
    for name, parameter in model.named_parameters():
        moments = state.moments.get(name, {})
        # All parameters have moments from the first step on.
        if moments.keys() != (_MOMENTS if state.step else set()):
            raise CheckpointError(
                f"{path}: damaged: moments of {name} must be {', '.join(sorted(_MOMENTS))}, got"
                f" {', '.join(sorted(moments)) or 'none'}"
            )
        for key, moment in moments.items():
            shape = () if key == "step" else tuple(parameter.shape)
            if tuple(moment.shape) != shape or not moment.is_floating_point():
                raise CheckpointError(
                    f"{path}: damaged: moment {key} of {name} must hold floats of shape {shape},"
                    f" got {moment.dtype} of shape {tuple(moment.shape)}"
                )


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; CheckpointError if it is missing or damaged."""
    try:
        found = load(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing; the checkpoint is incomplete") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None
    except KeyError as error:  # what the library raises for types that it knows and torch does not
        raise CheckpointError(f"{path}: damaged: tensors of type {error}") from None
    tensors = {without_wrappers(name): tensor for name, tensor in found.items()}
    if len(tensors) != len(found):
        raise CheckpointError(
            f"{path}: damaged: it holds a tensor twice, once under a wrapper's name"
        )
    return tensors


def _write_json(path: Path, data: object) -> None:
    write_atomically(path, as_json(data))
