"""Checkpoints of the published layout, with the exact names and shapes of the tensors, made of
random weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.subwords import sentencepiece_model


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a checkpoint: V, d, I, L."""

    vocab_size: int = 96
    hidden_size: int = 32
    intermediate_size: int = 256
    num_layers: int = 3


TEXT_SHAPE = Shape(vocab_size=400, hidden_size=32, num_layers=2)
SHAPE_370M = Shape(vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_layers=24)


def config_of(shape: Shape, **changes: Any) -> dict[str, Any]:
    """A config.json like the published ones, with hidden_ratio and no ``intermediate_size``."""
    config: dict[str, Any] = {
        "architectures": ["HGRNBitForCausalLM"],
        "attn_mode": "fused_recurrent",
        "bos_token_id": 1,
        "conv_size": 4,
        "eos_token_id": 2,
        "expand_ratio": 1,
        "hidden_act": "swish",
        "hidden_ratio": 4,
        "hidden_size": shape.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": None,
        "max_position_embeddings": 2048,
        "model_type": "hgrn_bit",
        "num_heads": 1,
        "num_hidden_layers": shape.num_layers,
        "rms_norm_eps": 1e-06,
        "share_conv_kernel": True,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_lower_bound": True,
        "use_short_conv": False,
        "vocab_size": shape.vocab_size,
    }
    return config | changes


def layer_tensors(shape: Shape, layer: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of one layer, float32."""
    d, i = shape.hidden_size, shape.intermediate_size
    prefix = f"model.layers.{layer}."
    tensors = {
        f"{prefix}{name}.weight": _gain(d, generator)
        for name in ("attn_norm", "mlp_norm", "attn.g_norm")
    }
    for name, rows, fan_in in (
        ("attn.i_proj", d, d),
        ("attn.f_proj", d, d),
        ("attn.g_proj", d, d),
        ("attn.o_proj", d, d),
        ("mlp.gate_proj", 2 * i, d),
        ("mlp.down_proj", d, i),
    ):
        tensors[f"{prefix}{name}.weight"] = _matrix(rows, fan_in, generator)
        tensors[f"{prefix}{name}.norm.weight"] = _gain(fan_in, generator)
    return tensors


def outer_tensors(shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    """Everything that belongs to no layer, float32."""
    v, d = shape.vocab_size, shape.hidden_size
    return {
        "model.embeddings.weight": torch.randn(v, d, generator=generator) * 0.5,
        "model.lower_bounds": torch.randn(shape.num_layers, d, generator=generator),
        "model.norm.weight": _gain(d, generator),
        "lm_head.weight": _matrix(v, d, generator),
        "lm_head.norm.weight": _gain(d, generator),
    }


def _gain(size: int, generator: torch.Generator) -> Tensor:
    return 1 + 0.3 * torch.randn(size, generator=generator)


def _matrix(rows: int, fan_in: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, fan_in, generator=generator) * (2.0 / fan_in**0.5)


def checkpoint_tensors(
    shape: Shape, seed: int = 0, dtype: torch.dtype = torch.bfloat16
) -> dict[str, Tensor]:
    """All tensors of a small checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    tensors = outer_tensors(shape, generator)
    for layer in range(shape.num_layers):
        tensors |= layer_tensors(shape, layer, generator)
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def language_model_tensors(
    shape: Shape, seed: int = 0, dtype: torch.dtype = torch.bfloat16
) -> dict[str, Tensor]:
    """Random weights with the statistics of trained language models.

    30 to 40 % of the ternary weights are 0 and gains are log-normal. A channel of the residual has
    a thousand times the median: in the embedding of token 1, and for all tokens from layer 0 on,
    whose GLU writes it by one weight from one large element. Norms have small gains there.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = checkpoint_tensors(shape, seed, torch.float32)
    for number, (name, tensor) in enumerate(tensors.items()):
        if tensor.ndim == 1:
            tensor.copy_(torch.exp(0.5 * torch.randn(tensor.shape, generator=generator)))
        elif number % 2 and "proj" in name:  # Laplace: 39 % below half of the mean, not 31
            uniform = (2 * torch.rand(tensor.shape, generator=generator) - 1).clamp(-0.999, 0.999)
            scale = tensor.std() / 2**0.5
            tensor.copy_(-scale * uniform.sign() * torch.log1p(-uniform.abs()))
    _add_outlier(shape, tensors, int(torch.randint(shape.hidden_size, (1,), generator=generator)))
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def _add_outlier(shape: Shape, tensors: dict[str, Tensor], channel: int) -> None:
    """Let a channel of the residual have a thousand times the median of the others."""
    embedding = tensors["model.embeddings.weight"]
    median = float(embedding.abs().median())
    embedding[:, channel] = 8 * median
    embedding[1, channel] = 1000 * median
    glu, down = "model.layers.0.mlp.gate_proj", "model.layers.0.mlp.down_proj"
    # Of the vector that gate and up read this channel is the largest: their first rows are it.
    tensors[f"{glu}.norm.weight"][channel] = 30
    for row in (0, shape.intermediate_size):
        tensors[f"{glu}.weight"][row, channel] = tensors[f"{glu}.weight"].abs().max()
    weight = tensors[f"{down}.weight"]
    weight[:, 0] = 0
    weight[channel, 0] = weight.abs().max()
    tensors[f"{down}.norm.weight"][0] = 5000
    weight *= 8 * median / shape.intermediate_size**0.5 / float(weight.abs().mean())
    for name, tensor in tensors.items():
        if name.endswith(("attn_norm.weight", "mlp_norm.weight", "model.norm.weight")) and (
            ".0." not in name
        ):
            tensor[channel] /= 250


def write_checkpoint(
    folder: Path,
    shape: Shape,
    tensors: dict[str, Tensor],
    *,
    shards: int = 1,
    **config: Any,
) -> Path:
    """A checkpoint folder, whose tensors are dealt out to the shards in turn.

    ``config``: changes of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_of(shape, **config)))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder
    parts = (
        {name: tensors[name] for name in list(tensors)[part::shards]} for part in range(shards)
    )
    write_shards(folder, parts, shards)
    return folder


def write_text_checkpoint(folder: Path) -> Path:
    """A checkpoint of ``TEXT_SHAPE`` in two shards, with a Llama-style ``tokenizer.model`` of 400
    pieces.
    """
    write_checkpoint(folder, TEXT_SHAPE, checkpoint_tensors(TEXT_SHAPE), shards=2)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    return folder


def write_shards(folder: Path, parts: Iterator[dict[str, Tensor]], count: int) -> None:
    """Shards, one in memory at a time, and their index."""
    places = {}
    for number, part in enumerate(parts, 1):
        name = f"model-{number:05d}-of-{count:05d}.safetensors"
        save_file(part, folder / name, {"format": "pt"})
        places |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
