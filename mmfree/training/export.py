"""Export: the only crossing from trained floats to the integers of a tape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfree.contract.pow2 import (
    SEGMENT_MODULES,
    SEGMENT_ROLES,
    SHIFT_BASE_MAX,
    SHIFT_BASE_MIN,
    sigmoid_table,
    silu_table,
)
from mmfree.errors import InputError
from mmfree.models.bitlinear import BitLinear
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.quantize import quantize_bias, quantize_embedding, quantize_ternary
from mmfree.tape.pow2 import Matrix, Segment, Tape, segment_shapes


def export_tape(model: MatMulFreeLM, tokenizer: dict[str, Any]) -> Tape:
    """The model as a tape: quantized exactly as its own "fakequant" mode does.

    Parameters
    ----------
    model
        Trained model, on any device.
    tokenizer
        The tokenizer's data, plain JSON types.

    Raises
    ------
    InputError
        If a parameter holds NaN or infinity, or the scale of a matrix cannot be stored on a tape;
        the message names the tensor.
    """
    rows, shift = quantize_embedding(_finite("embedding.weight", model.embedding.weight))
    return Tape(
        config=model.config,
        tokenizer=tokenizer,
        segments=tuple(_export_segments(model)),
        embedding=_to_numpy(rows, np.int8),
        embedding_shift=int(shift),
        sigmoid=sigmoid_table(),
        silu=silu_table(),
    )


def _export_segments(model: MatMulFreeLM) -> Iterator[Segment]:
    for kind, layer, _, _ in segment_shapes(model.config):
        prefix = "" if layer is None else f"layers.{layer}.{SEGMENT_MODULES[kind]}."
        matrices = []
        for role in SEGMENT_ROLES[kind]:
            module = model.get_submodule(prefix + role)
            assert isinstance(module, BitLinear)
            matrices.append(_export_matrix(prefix + role, module))
        yield Segment(kind=kind, layer=layer, matrices=tuple(matrices))


def _export_matrix(name: str, module: BitLinear) -> Matrix:
    weight = _finite(f"{name}.weight", module.weight)
    _check_scale(f"{name}.weight", weight, module.fraction_bits)
    trits, multiplier, exponent = quantize_ternary(weight)
    bias = None
    if module.bias is not None:
        latent = _finite(f"{name}.bias", module.bias)
        bias = _to_numpy(quantize_bias(latent, module.fraction_bits), np.int16)
    return Matrix.of(
        _to_numpy(trits, np.int8),
        role=module.role.name,
        multiplier=int(multiplier),
        exponent=int(exponent),
        bias=bias,
    )


def _check_scale(name: str, weight: Tensor, fraction_bits: int) -> None:
    """Raise InputError for a scale that a tape cannot hold.

    Checked before the exact computation, which would overflow far out of the range.
    """
    scale = float(weight.to(torch.float64).abs().mean()) * math.sqrt(weight.shape[1])
    low = 2.0 ** (9 - fraction_bits - SHIFT_BASE_MAX - 1)
    high = 2.0 ** (9 - fraction_bits - SHIFT_BASE_MIN)
    if scale != 0 and not low <= scale < high:
        reason = "training diverged (weights too large)" if scale >= high else "weights too small"
        raise InputError(
            f"{name}: mean absolute weight * sqrt(fan-in) must be 0 or in [{_plain(low)}, "
            f"{_plain(high)}), got {_plain(scale)}: {reason}, so the model cannot be exported; "
            "train again with a lower learning rate, or rescale the matrix"
        )


def _plain(value: float) -> str:
    """With six digits that count, and no exponent."""
    return f"{Decimal(f'{value:.6g}'):,f}"


def _finite(name: str, tensor: Tensor) -> Tensor:
    if not bool(torch.isfinite(tensor).all()):
        count = int((~torch.isfinite(tensor)).sum())
        raise InputError(
            f"{name}: every value must be finite, got {count} NaN or infinite of {tensor.numel()}: "
            "train again with a lower learning rate"
        )
    return tensor.detach()


def _to_numpy(tensor: Tensor, dtype: type[np.integer[Any]]) -> NDArray[Any]:
    return tensor.cpu().numpy().astype(dtype)
