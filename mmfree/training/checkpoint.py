"""Checkpoints: a folder with config.json, model.safetensors and tokenizer.json, and what a resumed
run needs.

Every file is replaced atomically, and each is complete by itself: ``training.safetensors`` holds
its own copy of the weights beside the optimizer's state, so whenever a run is killed, evaluation
finds a whole model and ``--resume`` a whole state, if from different steps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from mmfree.errors import InputError
from mmfree.files.atomic import read_json, write_atomically
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.text.tokenizer import Tokenizer
from mmfree.text.tokenizers import tokenizer_from_dict
from mmfree.training.recipe import TOKENIZER_NAME, TRAINING_NAME, RunConfig

CONFIG_NAME = "config.json"
MODEL_NAME = "model.safetensors"
METRICS_NAME = "metrics.csv"
ACCURACY_NAME = "accuracy.csv"
_NUMBERS = ("step", "steps", "seed", "processes", "sharded")


class CheckpointError(InputError):
    """A checkpoint folder is incomplete, damaged or of another model."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with what belongs to it."""

    config: RunConfig
    model: MatMulFreeLM
    tokenizer: Tokenizer


@dataclass(frozen=True)
class TrainingState:
    """What exact resumption needs.

    Steps done and planned, the seed, the number of processes and whether they shared the model
    (``mmfree.training.sharding``), the sha256 of the training text ("" without one), weights, and
    the optimizer's moments by parameter name.
    """

    step: int
    steps: int
    seed: int
    processes: int
    sharded: bool
    corpus: str
    weights: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]


def build_model(config: RunConfig) -> nn.Module:
    """An untrained model of a run."""
    if config.architecture == "transformer":
        from mmfree.models.transformer import Transformer

        return Transformer(config.model)
    return MatMulFreeLM(config.model)


def begin_checkpoint(folder: Path, config: RunConfig) -> None:
    """Write what does not change during a run.

    Weights of another config go first: a model is never without its own config.
    """
    if (folder / CONFIG_NAME).exists() and (folder / CONFIG_NAME).read_bytes() != _json(
        config.to_dict()
    ):
        for name in (CONFIG_NAME, TRAINING_NAME, MODEL_NAME, TOKENIZER_NAME):
            (folder / name).unlink(missing_ok=True)
    _write_json(folder / CONFIG_NAME, config.to_dict())
    _write_json(folder / TOKENIZER_NAME, config.tokenizer.to_dict())


def save_checkpoint(folder: Path, state: TrainingState) -> None:
    """Replace the weights and the training state, each atomically."""
    tensors = {f"weights.{name}": tensor for name, tensor in state.weights.items()}
    for name, moments in state.moments.items():
        tensors |= {f"moments.{name}:{key}": tensor for key, tensor in moments.items()}
    metadata = {name: str(int(getattr(state, name))) for name in _NUMBERS} | {
        "corpus": state.corpus
    }
    write_atomically(folder / TRAINING_NAME, save(tensors, metadata | {"format": "pt"}))
    write_atomically(folder / MODEL_NAME, save(state.weights, {"format": "pt"}))


def write_model(folder: Path, config: RunConfig, model: MatMulFreeLM, tokenizer: Tokenizer) -> None:
    """Write a checkpoint that can be played and exported, but holds nothing to resume training
    from.
    """
    _write_json(folder / CONFIG_NAME, config.to_dict())
    _write_json(folder / TOKENIZER_NAME, tokenizer.to_dict())
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write_atomically(folder / MODEL_NAME, save(weights, {"format": "pt"}))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a model.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or a tensor is missing, unexpected or of another shape; the
        message names it.
    """
    config = load_config(folder)
    tensors = _load_tensors(folder / MODEL_NAME)
    model = build_model(config)
    if not isinstance(model, MatMulFreeLM):
        raise CheckpointError(
            f"{folder}: a {config.architecture}, the baseline: it can be trained and compared, not"
            " played or exported"
        )
    check_weights(folder / MODEL_NAME, tensors, model)
    model.load_state_dict(tensors)
    try:
        tokenizer = tokenizer_from_dict(read_json(folder / TOKENIZER_NAME))
    except ValueError as error:
        raise CheckpointError(f"{folder / TOKENIZER_NAME}: {error}") from None
    return Checkpoint(config, model, tokenizer)


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
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def load_training_state(folder: Path) -> TrainingState:
    """What ``save_checkpoint`` stored for resumption.

    CheckpointError if it is missing or damaged.
    """
    path = folder / TRAINING_NAME
    tensors = _load_tensors(path)
    header_bytes = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + header_bytes]).get("__metadata__", {})
    # One process, before there could be more; none shared, before they could.
    metadata = {"processes": "1", "sharded": "0"} | metadata
    if missing := sorted({*_NUMBERS, "corpus"} - metadata.keys()):
        raise CheckpointError(f"{path}: damaged: {missing[0]} is missing in its metadata")
    weights: dict[str, Tensor] = {}
    moments: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "weights":
            weights[rest] = tensor
        else:
            parameter, _, key = rest.rpartition(":")
            moments.setdefault(parameter, {})[key] = tensor
    step, steps, seed, processes, sharded = (int(metadata[name]) for name in _NUMBERS)
    return TrainingState(
        step,
        steps,
        seed,
        processes,
        bool(sharded),
        corpus=metadata["corpus"],
        weights=weights,
        moments=moments,
    )


def check_weights(path: Path, tensors: dict[str, Tensor], model: nn.Module) -> None:
    """Compare names and shapes with the model's."""
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


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load(path.read_bytes()))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing; the checkpoint is incomplete") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None


def _json(data: object) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()


def _write_json(path: Path, data: object) -> None:
    write_atomically(path, _json(data))
