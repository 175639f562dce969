"""The recurrence on a GPU by flash-linear-attention's kernels: one launch for all time steps.

Torch alone needs a launch for each step.

Their recurrence is h_t = exp(g_t) h_{t-1} + x_t (Qin et al., HGRN, arXiv 2311.04823); here g = log
f and x = (1 - f) c. Both ends of the hard gate stay exact, since exp(log 0) = 0 and exp(log 1) = 1,
but a gradient through log f would divide by f. So only the recurrences go through their kernels,
and ``mmfree.models.scan`` makes the gradients from what they return. A negative f has no logarithm:
the signed gate never comes here.

Their layout is [sequences, T, channels]. Channels do not mix, so [T, B, d] is one sequence of B * d
channels, and nothing is transposed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from mmfree.errors import InputError, ToolMissing

SWITCH = "MMFREE_SCAN"
"""Environment variable: with "torch" training does without these kernels."""


def _available() -> bool:
    """Whether the kernels are installed (they are not imported) and not switched off."""
    choice = os.environ.get(SWITCH) or None
    if choice not in (None, "torch"):
        raise InputError(
            f"environment variable {SWITCH} must be torch, or not be set, got {choice!r}"
        )
    return choice is None and all(find_spec(name) is not None for name in ("fla", "triton"))


AVAILABLE = _available()
"""Read once, when first imported: a constant to torch.compile."""


def usable(f_TBd: Tensor, gate: str) -> bool:
    """Whether the kernels serve this tensor: on a CUDA device, float32, and a gate in 0..1."""
    return (
        AVAILABLE
        and f_TBd.device.type == "cuda"
        and f_TBd.dtype == torch.float32
        and gate != "signed"
    )


@cache
def _kernels() -> tuple[Callable[..., tuple[Tensor, ...]], Callable[..., tuple[Tensor, ...]]]:
    try:
        from fla.ops.hgrn.fused_recurrent import fused_recurrent_hgrn_bwd, fused_recurrent_hgrn_fwd
    except ImportError as error:
        raise ToolMissing(
            f"flash-linear-attention cannot be imported ({error}): install mmfree[gpu], or set"
            f" {SWITCH}=torch to train without it"
        ) from None
    return fused_recurrent_hgrn_fwd, fused_recurrent_hgrn_bwd


def _sequence(x_TBd: Tensor) -> Tensor:
    return x_TBd.contiguous().view(1, len(x_TBd), -1)


def states(f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor) -> Tensor:
    """h [T, B, d] of the recurrence; f float32 in 0..1."""
    forward, _ = _kernels()
    with torch.accelerator.device_index(f_TBd.device.index):
        h, _ = forward(
            _sequence((1 - f_TBd).mul_(c_TBd)), _sequence(f_TBd.log()), h0_Bd.reshape(1, -1)
        )
    return h.view(f_TBd.shape)


def gradients_of_states(grad_TBd: Tensor, f_TBd: Tensor, h_TBd: Tensor) -> Tensor:
    """d_t = grad_t + f_{t+1} d_{t+1}, [T, B, d]: the gradient of h_t from all outputs from t on.

    What it returns may be written to.
    """
    _, backward = _kernels()
    with torch.accelerator.device_index(f_TBd.device.index):
        # Their gradient by x. That by g, which they also make, has lost f = 0.
        d, _, _ = backward(_sequence(f_TBd.log()), _sequence(h_TBd), _sequence(grad_TBd))
    return d.view(f_TBd.shape)
