"""The recurrence h_t = f_t h_{t-1} + (1 - |f_t|) c_t over time, three ways.

``naive_scan`` is the specification; ``fast_scan`` is the same with its own backward, for training;
``rounded_scan`` rounds the state at every step as the chip does. All take f and c as [T, B, d], h0
as [B, d], and return h as [T, B, d]. The hard gates reach 0 and 1 exactly, so nothing here is done
in log space, where the kernels of ``mmfree.models.gpu_scan`` compute. f lies in [0, 1], with the
signed gate in [-1, 1].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmfree.contract.pow2 import DEFAULT_FORMATS
from mmfree.models import gpu_scan
from mmfree.models.quantize import round_half_up


def naive_scan(f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor, signed: bool = False) -> Tensor:
    """States of the recurrence, step after step under autograd: the specification.

    ``signed``: f may be negative.
    """
    h_Bd, states = h0_Bd, []
    for f_Bd, c_Bd in zip(f_TBd, c_TBd, strict=True):
        h_Bd = f_Bd * h_Bd + (1 - (f_Bd.abs() if signed else f_Bd)) * c_Bd
        states.append(h_Bd)
    return torch.stack(states)


def rounded_scan(f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor) -> Tensor:
    """States rounded at every step (docs/arithmetic.md, 10); gradients pass the rounding unchanged.

    f must be multiples of 2^-8 in [-1, 1], c and h0 multiples of 2^-11 in [-16, 16); then so is h,
    and float32 is exact: (1-|f|)(c-+h) needs 24 bits.
    """
    h_Bd, states = h0_Bd, []
    for f_Bd, load_Bd, c_Bd in zip(f_TBd, 1 - f_TBd.abs(), c_TBd, strict=True):
        start_Bd = torch.where(f_Bd < 0, -h_Bd, h_Bd)
        h_Bd = start_Bd + round_half_up(load_Bd * (c_Bd - start_Bd), DEFAULT_FORMATS.state_fb)
        states.append(h_Bd)
    return torch.stack(states)


@torch.library.custom_op("mmfree::scan", mutates_args=())
def _scan(f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor, signed: bool, kernels: bool) -> Tensor:
    if kernels:
        return gpu_scan.states(f_TBd, c_TBd, h0_Bd)
    # Unsigned: an interpolation, exact at both ends. Signed: the part that loads c is made
    # beforehand.
    h_TBd = (1 - f_TBd.abs()).mul_(c_TBd) if signed else torch.empty_like(c_TBd)
    previous = h0_Bd
    for f_Bd, c_Bd, h_Bd in zip(f_TBd.unbind(), c_TBd.unbind(), h_TBd.unbind(), strict=True):
        if signed:
            h_Bd.addcmul_(f_Bd, previous)
        else:
            torch.lerp(c_Bd, previous, f_Bd, out=h_Bd)
        previous = h_Bd
    return h_TBd


@torch.library.custom_op("mmfree::scan_backward", mutates_args=())
def _scan_backward(
    grad_TBd: Tensor,
    f_TBd: Tensor,
    c_TBd: Tensor,
    h0_Bd: Tensor,
    h_TBd: Tensor,
    signed: bool,
    kernels: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    # Gradient of h_t from all outputs from t on: d_t = grad_t + f_{t+1} d_{t+1}.
    if kernels:
        d_TBd = gpu_scan.gradients_of_states(grad_TBd, f_TBd, h_TBd)
    else:
        d_TBd = grad_TBd.clone(memory_format=torch.contiguous_format)
        d, f = d_TBd.unbind(), f_TBd.unbind()
        for t in range(len(d) - 2, -1, -1):
            d[t].addcmul_(f[t + 1], d[t + 1])
    grad_h0 = f_TBd[0] * d_TBd[0]
    grad_f = torch.empty_like(d_TBd)
    lost_TBd = c_TBd * f_TBd.sign() if signed else c_TBd
    torch.sub(h_TBd[:-1], lost_TBd[1:], out=grad_f[1:])
    torch.sub(h0_Bd, lost_TBd[0], out=grad_f[0])
    grad_f.mul_(d_TBd)
    held_TBd = f_TBd.abs() if signed else f_TBd
    return grad_f, d_TBd.addcmul_(held_TBd, d_TBd, value=-1), grad_h0


@_scan.register_fake
def _(f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor, signed: bool, kernels: bool) -> Tensor:
    return torch.empty_like(c_TBd, memory_format=torch.contiguous_format)


@_scan_backward.register_fake
def _(
    grad_TBd: Tensor,
    f_TBd: Tensor,
    c_TBd: Tensor,
    h0_Bd: Tensor,
    h_TBd: Tensor,
    signed: bool,
    kernels: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    whole = torch.empty_like(grad_TBd, memory_format=torch.contiguous_format)
    return whole, torch.empty_like(whole), torch.empty_like(h0_Bd)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    f_TBd, c_TBd, h0_Bd, *ctx.options = inputs
    ctx.save_for_backward(f_TBd, c_TBd, h0_Bd, output)


def _differentiate(ctx: Any, grad_TBd: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
    return *_scan_backward(grad_TBd, *ctx.saved_tensors, *ctx.options), None, None


_scan.register_autograd(_differentiate, setup_context=_save)


def fast_scan(
    f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor, signed: bool = False, kernels: bool = False
) -> Tensor:
    """``naive_scan`` in one fused operation per time step, with gradients of first order only.

    ``signed``: f may be negative. ``kernels``: use those of ``mmfree.models.gpu_scan``, which must
    be usable. To torch.compile it is one operation; it would otherwise unroll time.
    """
    result: Tensor = _scan(f_TBd, c_TBd, h0_Bd, signed, kernels)
    return result
