"""Published checkpoints as folders: what config.json says, and which tensors belong to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.shape import AbsmaxConfig
from mmfree.errors import InputError
from mmfree.files.atomic import read_json
from mmfree.published.tensors import PublishedError, Tensors

MODEL_TYPE = "hgrn_bit"
CONFIG_NAME, GENERATION_NAME = "config.json", "generation_config.json"
LOWER_BOUNDS = "model.lower_bounds"
"""The one tensor that some checkpoints lack."""

_REASONS = {
    "bitnet": "its attention multiplies activations with activations",
    "llama": (
        "its attention multiplies activations with activations, and its weights are not ternary"
    ),
}


def model_type(folder: Path) -> str | None:
    """``model_type`` of the folder's config.json; None if it has none, or is of our own checkpoint.

    Raises
    ------
    InputError
        If there is no config.json, or it is not JSON.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise PublishedError(f"{folder}: no checkpoint: {CONFIG_NAME} is missing")
    config = read_json(path)
    if not isinstance(config, dict) or "recipe" in config or "model_type" not in config:
        return None
    return str(config["model_type"])


def read_config(folder: Path) -> AbsmaxConfig:
    """The shape that config.json describes.

    Raises
    ------
    InputError
        If the model type is another, a field is missing or out of range, or the model has parts
        that a tape does not.
    """
    path = folder / CONFIG_NAME
    kind = model_type(folder)
    if kind != MODEL_TYPE:
        reason = _REASONS.get(
            kind or "", "layers like attention multiply activations with activations"
        )
        raise PublishedError(
            f"{path}: model_type {kind!r} cannot become a tape: {reason}; only {MODEL_TYPE!r}"
            " (MatMul-free) is read"
        )
    data = read_json(path)
    for name, wanted in {
        "expand_ratio": (1,),
        "use_short_conv": (False,),
        "hidden_act": ("swish", "silu"),
        "tie_word_embeddings": (False,),
        "use_moe": (False,),
        "use_lower_bound": (True, False),
    }.items():
        if (found := data.get(name, wanted[0])) not in wanted:
            raise PublishedError(
                f"{path}: {name} must be {' or '.join(map(repr, wanted))}, got {found!r}"
            )
    for name in ("hidden_size", "num_hidden_layers", "vocab_size"):
        if name not in data:
            raise PublishedError(f"{path}: missing field {name!r}")
        if type(data[name]) is not int:
            raise PublishedError(f"{path}: {name} must be an integer, got {data[name]!r}")
    intermediate = data.get("intermediate_size")
    if intermediate is None:
        ratio = 4 if data.get("hidden_ratio") is None else data["hidden_ratio"]
        if type(ratio) is not int or not 1 <= ratio <= 64:
            raise PublishedError(f"{path}: hidden_ratio must be an integer in 1..64, got {ratio!r}")
        intermediate = 256 * -(-int(data["hidden_size"] * ratio * 2 / 3) // 256)
    eps = data.get("rms_norm_eps", 1e-6)
    if type(eps) not in (int, float):
        raise PublishedError(f"{path}: rms_norm_eps must be a number, got {eps!r}")
    try:
        config = AbsmaxConfig(
            vocab_size=data["vocab_size"],
            hidden_size=data["hidden_size"],
            intermediate_size=intermediate,
            num_layers=data["num_hidden_layers"],
            norm_eps=float(eps),
            bos_token_id=data.get("bos_token_id"),
        )
    except InputError as error:
        raise PublishedError(f"{path}: {error}") from None
    place, ends = _end_tokens(folder, data)
    try:
        return replace(config, eos_token_id=ends)
    except InputError as error:
        raise PublishedError(f"{place}: {error}") from None


def _end_tokens(folder: Path, config: dict[str, Any]) -> tuple[Path, Any]:
    """What ends a text, and the file that says it.

    As in transformers generation_config.json comes before config.json. (One that does not mention
    end tokens leaves them to config.json.)
    """
    path = folder / GENERATION_NAME
    if path.is_file():
        found = read_json(path)
        if not isinstance(found, dict):
            raise PublishedError(f"{path}: expected a JSON object, got {type(found).__name__}")
        if "eos_token_id" in found:
            return path, found["eos_token_id"]
    return folder / CONFIG_NAME, config.get("eos_token_id")


def expected_tensors(config: AbsmaxConfig, lower_bounds: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors."""
    v, d, i = config.vocab_size, config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {"model.embeddings.weight": (v, d)}
    if lower_bounds:
        shapes[LOWER_BOUNDS] = (config.num_layers, d)
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.{name}.weight": (d,) for name in ("attn_norm", "mlp_norm", "attn.g_norm")
        }
        matrices = {f"attn.{role}_proj": (d, d) for role in "ifgo"}
        matrices |= {"mlp.gate_proj": (2 * i, d), "mlp.down_proj": (d, i)}
        for name, shape in matrices.items():
            shapes[f"{prefix}.{name}.weight"] = shape
            shapes[f"{prefix}.{name}.norm.weight"] = shape[1:]
    shapes |= {"model.norm.weight": (d,), "lm_head.weight": (v, d), "lm_head.norm.weight": (d,)}
    return shapes


def open_checkpoint(folder: Path) -> tuple[AbsmaxConfig, Tensors]:
    """The shape that config.json describes, and the tensors, whose names and shapes belong to it.

    Raises
    ------
    InputError
        If the folder cannot be read as a published checkpoint; the message names file and field or
        tensor.
    """
    config = read_config(folder)
    bounded = read_json(folder / CONFIG_NAME).get("use_lower_bound", True) is True
    tensors = Tensors(folder)
    tensors.check(expected_tensors(config, bounded))
    return config, tensors


def lower_bounds(tensors: Tensors, config: AbsmaxConfig) -> NDArray[np.float64]:
    """The least value of each forget gate, [L, d] in 0..1.

    It is cumsum(softmax over layers) - its first row, and zero if the model has no lower bounds.
    """
    if LOWER_BOUNDS not in tensors:
        return np.zeros((config.num_layers, config.hidden_size))
    latent = tensors.read(LOWER_BOUNDS)
    shares = np.exp(latent - latent.max(axis=0))
    shares /= shares.sum(axis=0)
    bounds: NDArray[np.float64] = np.cumsum(shares, axis=0) - shares[0]
    return bounds
