"""The MatMul-free model without fused operations, which the fused ones are measured against.

The same quantizers at the same places, as one operation of autograd after another: what the fused
operations of ``mmfree.models.bitlinear``, ``mmfree.models.matmul_free`` and ``mmfree.models.scan``
replace (tools/measure/training_speed.py compares). Each BitLinear normalizes and quantizes its
input again, as separate layers do; norm and scale are floats instead of tables, so values agree
with the fused model to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfree.contract.pow2 import DEFAULT_FORMATS, INT8_MAX, INT8_MIN
from mmfree.models.bitlinear import BitLinear
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.quantize import power_of_two, quantize_ternary, round_half_up, straight_through
from mmfree.models.scan import naive_scan

_EPS = 1e-12
"""Keeps the root finite for an input of zeros."""


def _linear(u_TBn: Tensor, matrix: BitLinear) -> Tensor:
    fan_in = u_TBn.shape[-1]
    bits = torch.frexp(u_TBn.detach().abs().amax(-1, keepdim=True)).exponent
    step, unit = power_of_two(7 - bits), power_of_two(bits - 7)
    quantized = torch.floor(u_TBn.detach() * step + 0.5).clamp(max=INT8_MAX) * unit
    x_TBn = straight_through(u_TBn, quantized)
    x_TBn = x_TBn * torch.rsqrt(x_TBn.square().mean(-1, keepdim=True) + _EPS)
    trits, multiplier, exponent = quantize_ternary(matrix.weight)
    scale = multiplier * power_of_two(exponent - 8) / math.sqrt(fan_in)
    y_TBr = F.linear(x_TBn, straight_through(matrix.weight, trits * scale)).float()
    limit, fb = 1 << (matrix.role.width_bits - 1), matrix.fraction_bits
    return F.hardtanh(round_half_up(y_TBr, fb), -limit * 2.0**-fb, (limit - 1) * 2.0**-fb)


def _project(u_TBn: Tensor, matrices: Sequence[BitLinear], mode: str) -> tuple[Tensor, ...]:
    return tuple(_linear(u_TBn, matrix) for matrix in matrices)


def _lookup(x: Tensor, name: str) -> Tensor:
    fb = DEFAULT_FORMATS.index_fb
    at = F.hardtanh(round_half_up(x, fb), INT8_MIN * 2.0**-fb, INT8_MAX * 2.0**-fb)
    if name == "sigmoid":
        return round_half_up(torch.sigmoid(at), DEFAULT_FORMATS.forget_fb)
    return round_half_up(F.silu(at), DEFAULT_FORMATS.state_fb)


def _scan(f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor, gate: str, mode: str) -> Tensor:
    return naive_scan(f_TBd, c_TBd, h0_Bd, signed=gate == "signed")


class UnfusedLM(MatMulFreeLM):
    """``MatMulFreeLM`` in mode train without a fused operation; not for torch.compile."""

    def forward(self, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """As ``MatMulFreeLM.forward``."""
        with patch.multiple(
            "mmfree.models.matmul_free", project=_project, lookup=_lookup, scan=_scan
        ):
            return super().forward(*arguments, **options)
