"""Quantizers of what is trained: matrices, embedding, gate biases (docs/arithmetic.md, 3, 4, 9).

Training, evaluation and export all call these functions, so that they cannot disagree. They stay on
the device and never wait for it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfree.contract.pow2 import (
    DEFAULT_FORMATS,
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    MULTIPLIER_MAX,
    MULTIPLIER_MIN,
)

_ABSMEAN_ONE = 2.0**32
_EMBEDDING_FB_MAX = DEFAULT_FORMATS.residual_fb


def power_of_two(exponent: Tensor) -> Tensor:
    """2**exponent as float32, exactly; ``exponent`` int32 in -126..127.

    Built from the bits: torch.pow and torch.ldexp need not be exact.
    """
    return ((exponent + 127) << 23).view(torch.float32)


def quantize_ternary(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ternary matrix by absmean, with the constants of its scale (section 3).

    Parameters
    ----------
    weight
        Latent weights, finite float [..., rows, n]; leading axes are separate matrices.

    Returns
    -------
    trits
        float32 [..., rows, n] of -1, 0, +1.
    multiplier
        m_w, int32 [...], 128..256.
    exponent
        a, int32 [...]: the matrix represents trits * (m_w / 256) * 2^a / sqrt(n).
    """
    weight = weight.detach()
    w = weight.to(torch.float64)
    # A sum of integers has no order, so every device gets the same mean.
    total = w.abs().mul_(_ABSMEAN_ONE).round_().to(torch.int64).sum((-2, -1))
    rows, fan_in = w.shape[-2:]
    absmean = total.to(torch.float64) / (_ABSMEAN_ONE * rows * fan_in)
    threshold = _rounded_down(absmean / 2)[..., None, None]
    trits = (weight > threshold).to(torch.float32) - (weight < -threshold).to(torch.float32)
    mantissa, exponent = torch.frexp(absmean * math.sqrt(fan_in))
    # Only an all-zero matrix has a mantissa below 1/2.
    multiplier = torch.floor(256 * mantissa + 0.5).clamp_(MULTIPLIER_MIN, MULTIPLIER_MAX)
    return trits, multiplier.to(torch.int32), exponent.to(torch.int32)


def _rounded_down(x: Tensor) -> Tensor:
    """The largest float32 that is at most ``x``, float64 >= 0.

    A float32 is above it if, and only if, it is above ``x``.
    """
    nearest = x.to(torch.float32)
    return torch.where(nearest > x, torch.nextafter(nearest, torch.zeros_like(nearest)), nearest)


def quantize_embedding(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Embedding rows as integers, and their shift to the residual's format (section 4).

    Parameters
    ----------
    embedding
        Latent table, finite float32 [vocab_size, d].

    Returns
    -------
    rows
        float32 [vocab_size, d] of integers -128..127.
    shift
        embedding_shift, int32 scalar, 0..8: a row represents row * 2^(shift - 9).
    """
    table = embedding.detach()
    candidates = torch.arange(1, _EMBEDDING_FB_MAX + 1, dtype=torch.int32, device=table.device)
    largest = torch.round(table.abs().amax() * power_of_two(candidates))
    fraction_bits = (largest <= INT8_MAX).sum(dtype=torch.int32).clamp_(min=1)
    rows = torch.round(table * power_of_two(fraction_bits)).clamp_(INT8_MIN, INT8_MAX)
    return rows, _EMBEDDING_FB_MAX - fraction_bits


def quantize_bias(bias: Tensor, fraction_bits: int) -> Tensor:
    """Gate biases as integers of z's format: float32 [d], halves to even, saturated to int16."""
    return torch.round(bias.detach() * 2.0**fraction_bits).clamp_(INT16_MIN, INT16_MAX)


def saved_mask(passes: Tensor) -> Tensor:
    """A mask as it is saved for the backward pass: bool, under torch.compile int8.

    The compiler's vector code writes bool element by element, some twenty times slower; int8 made
    from float32 is written in whole vectors (torch 2.13, docs/log.md).
    """
    return passes.to(torch.float32).to(torch.int8) if torch.compiler.is_compiling() else passes


class _Saturated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(saved_mask((x > low) & (x < high)))
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (passes,) = ctx.saved_tensors
        return grads[0] * passes, None, None


def saturate(x: Tensor, low: float, high: float) -> Tensor:
    """``x`` clamped, with no gradient at the ends and beyond."""
    if not torch.compiler.is_compiling():
        return F.hardtanh(x, low, high)
    result: Tensor = _Saturated.apply(x, low, high)
    return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, quantized: Tensor, passes: Tensor | None) -> Tensor:
        ctx.passes = passes
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        return (grad if ctx.passes is None else grad * ctx.passes), None, None


def straight_through(latent: Tensor, quantized: Tensor, passes: Tensor | None = None) -> Tensor:
    """The value of ``quantized``, whose gradient goes to ``latent`` where ``passes`` allows.

    Unlike latent + (quantized - latent).detach(), the value is exact.
    """
    result: Tensor = _StraightThrough.apply(latent, quantized, passes)
    return result


def round_half_up(x: Tensor, fraction_bits: int) -> Tensor:
    """``x`` rounded to a multiple of 2^-fraction_bits, halves up (rnd of section 1).

    The gradient passes unchanged.
    """
    rounded = x.detach().mul(2.0**fraction_bits).add_(0.5).floor_().mul_(2.0**-fraction_bits)
    return straight_through(x, rounded)


def fake_quantize_embedding(embedding: Tensor) -> Tensor:
    """The embedding that the chip reads, in real units.

    The gradient passes unchanged, except where an entry saturated.
    """
    rows, shift = quantize_embedding(embedding)
    step = power_of_two(shift - _EMBEDDING_FB_MAX)
    # Half a step beyond the last code still rounds to it.
    passes = (embedding.detach() - rows * step).abs() <= step / 2
    return straight_through(embedding, rows * step, passes)


def fake_quantize_bias(bias: Tensor, fraction_bits: int) -> Tensor:
    """The gate biases that the chip adds, in real units. The gradient passes unchanged."""
    return straight_through(bias, quantize_bias(bias, fraction_bits) * 2.0**-fraction_bits)
