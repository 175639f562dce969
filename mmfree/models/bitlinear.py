"""BitLinear: RMSNorm, int8 activations and ternary weights as one differentiable function
(docs/arithmetic.md, 3 and 5 to 7).

Values are in real units throughout. In the quantized modes each is a multiple of 2^-fb, so it
represents the contract's integer exactly.

Shape suffixes: T time, B batch, n fan-in, r rows of a matrix, N = T * B vectors, m matrices of a
segment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfree.contract.pow2 import (
    DEFAULT_FORMATS,
    INT8_MAX,
    MAX_FAN_IN,
    NORM_EXPONENT_MAX,
    NORM_EXPONENT_MIN,
    ROLES,
    SHIFT_BASE_MAX,
    SHIFT_BASE_MIN,
    reciprocal_root_table,
)
from mmfree.errors import InputError
from mmfree.models.exact_product import exact_product
from mmfree.models.quantize import power_of_two, quantize_ternary, straight_through
from mmfree.models.ranges import note_range

Mode = Literal["train", "fakequant", "float"]
"""train: the contract's arithmetic, but h not rounded; fakequant: the contract's arithmetic; float:
activations not quantized.
"""

_RESIDUAL_FB = DEFAULT_FORMATS.residual_fb
_STEP = 2.0**-_RESIDUAL_FB
_RMS_EPS = 1e-12
"""Only keeps the zero vector from dividing by zero; the contract has none."""

_INT32_FAN_IN = 1 << 14
"""Largest fan-in for which int32 holds |acc * M| < 1.01 * 2^16 * fan-in, plus half of the rounding
step.
"""

_FLOAT32_FAN_IN = 1 << 10
"""Largest fan-in for which a sum of squares of int8 is at most 2^24, exact in float32."""

_FOURS = torch.tensor(
    [4**k for k in range(NORM_EXPONENT_MIN + 1, NORM_EXPONENT_MAX + 1)], dtype=torch.int32
)
"""Least S for k = 7, 8 and so on (section 6)."""

_ROOT_TABLE = torch.from_numpy(reciprocal_root_table()).to(torch.int32)


class BitLinear(nn.Module):
    """One ternary matrix: latent weights [rows, fan_in], and the format of its output.

    Parameters
    ----------
    role
        Role of section 7: decides width and fraction bits of the output.
    gate
        "sigmoid", "hard" or "signed"; role f's format depends on it.
    bias
        Whether there is a latent ``bias`` [rows]. It is added by the gate, not here.

    Raises
    ------
    InputError
        If the fan-in is out of range.
    """

    def __init__(self, role: str, fan_in: int, rows: int, gate: str, *, bias: bool = False) -> None:
        super().__init__()
        if not 1 <= fan_in <= MAX_FAN_IN:
            raise InputError(f"matrix {role}: fan-in must be in 1..{MAX_FAN_IN}, got {fan_in}")
        self.role = ROLES[role]
        self.fraction_bits = self.role.fraction_bits(gate)
        self.pull = 0.0
        """Gradient of an output beyond the limits of its width, towards them (``hold_ranges``)."""
        self.weight = nn.Parameter(torch.randn(rows, fan_in) / math.sqrt(fan_in))
        self.bias = nn.Parameter(torch.zeros(rows)) if bias else None


class _Quantized(NamedTuple):
    """Integers of a quantized vector, one row per vector."""

    q_Nn: Tensor  # float32 of integers -128..127
    step_N: Tensor  # float32: dq/du
    sum_N: Tensor  # S, int32


def _quantize(u_Nn: Tensor) -> _Quantized:
    """Section 5, and section 6's sum of squares, of each row of ``u_Nn`` (multiples of 2^-9)."""
    # u XOR (u >> 15) is -u-1 for negative u; the OR has the bit length of the largest.
    magnitude_N = torch.maximum(u_Nn.amax(-1), -u_Nn.amin(-1) - _STEP).mul(1 / _STEP)
    step_N = power_of_two(7 + _RESIDUAL_FB - _bit_length(magnitude_N))
    q_Nn = (u_Nn * step_N[:, None]).add_(0.5).floor_().clamp_(max=INT8_MAX)
    # Sums beyond 2^24 would be rounded in float32.
    exact = torch.float32 if u_Nn.shape[-1] <= _FLOAT32_FAN_IN else torch.float64
    return _Quantized(q_Nn, step_N, q_Nn.square().sum(-1, dtype=exact).to(torch.int32))


def _bit_length(x: Tensor) -> Tensor:
    """Of integers 0..2^24 as float32, from the exponent's bits: int32."""
    return ((x.view(torch.int32) >> 23) - 126).clamp(min=0)


@torch.library.custom_op("mmfree::requantizers", mutates_args=())
def _requantizers(
    sum_N: Tensor, multiplier_m: Tensor, exponent_m: Tensor, fan_in: int, fraction_bits: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Constants of sections 6 and 7 for each vector and matrix.

    M, half of the rounding step and shift [m, N] (int32, or int64 where products need it); 1 / RMS
    [N] and value of a trit [m], float32.

    To torch.compile this is one operation. It would otherwise compute these constants again for
    every sixteen elements of an output (docs/log.md).
    """
    sum_N = sum_N.clamp(min=4096)
    k_N = NORM_EXPONENT_MIN + (sum_N[:, None] >= _FOURS.to(sum_N.device)).sum(-1, dtype=torch.int32)
    root_N = _ROOT_TABLE.to(sum_N.device).index_select(0, sum_N >> (2 * k_N - 6))
    wide = torch.int32 if fan_in <= _INT32_FAN_IN else torch.int64
    scale_mN = ((root_N * multiplier_m[:, None] + 64) >> 7).to(wide)
    base_m = exponent_m.new_tensor([9 - fb for fb in fraction_bits]) - exponent_m
    # Out of range only for weights that export refuses; a shift must not become negative.
    base_m = base_m.clamp(SHIFT_BASE_MIN, SHIFT_BASE_MAX)
    shift_mN = (base_m[:, None] + k_N).to(wide)
    half_mN = torch.ones_like(shift_mN) << (shift_mN - 1)
    norm_N = root_N * power_of_two(-8 - k_N) * math.sqrt(fan_in)
    unit_m = multiplier_m * power_of_two(exponent_m - 8) / math.sqrt(fan_in)
    return scale_mN, half_mN, shift_mN, norm_N, unit_m


@_requantizers.register_fake
def _(
    sum_N: Tensor, multiplier_m: Tensor, exponent_m: Tensor, fan_in: int, fraction_bits: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    wide = torch.int32 if fan_in <= _INT32_FAN_IN else torch.int64
    one = sum_N.new_empty((len(fraction_bits), len(sum_N)), dtype=wide)
    return (
        one,
        torch.empty_like(one),
        torch.empty_like(one),
        sum_N.new_empty(len(sum_N), dtype=torch.float32),
        multiplier_m.new_empty(len(fraction_bits), dtype=torch.float32),
    )


def _requantize(
    acc_Nr: Tensor, scale_N: Tensor, half_N: Tensor, shift_N: Tensor, width_bits: int
) -> tuple[Tensor, Tensor]:
    """Section 7: sat((acc * M + half) >> shift) as float32, and where it saturated: 1 above, -1
    below, 0 elsewhere, int8.

    ``acc_Nr`` may be overwritten.
    """
    product_Nr = acc_Nr.to(scale_N.dtype).mul_(scale_N[:, None]).add_(half_N[:, None])
    # Rounding to float32 changes only integers far beyond saturation.
    rounded_Nr = product_Nr.bitwise_right_shift_(shift_N[:, None]).to(torch.float32)
    high = (1 << (width_bits - 1)) - 1
    out_Nr = rounded_Nr.clamp(-high - 1, high)
    side_Nr = (rounded_Nr - out_Nr).clamp(-1, 1).to(torch.int8)
    if width_bits == 8 and torch.compiler.is_compiling():
        # What the backward pass needs is then made from one byte again, instead of from acc.
        out_Nr = out_Nr.to(torch.int8).to(torch.float32)
    return out_Nr, side_Nr


class _Projection(torch.autograd.Function):
    """All matrices of a segment on one vector: quantize, norm, T q, requantize.

    The backward pass is that of y = RMSNorm(u) W^T on the quantized values; outputs that saturated
    have a gradient of ``pull`` towards their limits, whatever is asked of them. Under autocast its
    products are in bfloat16. The forward pass is always exact.
    """

    @staticmethod
    def forward(
        ctx: Any,
        u_Nn: Tensor,
        formats: Sequence[tuple[int, int]],
        pull: float,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        trits, multipliers, exponents = zip(*map(quantize_ternary, weights), strict=True)
        multiplier_m, exponent_m = torch.stack(multipliers), torch.stack(exponents)
        q_Nn, step_N, sum_N = _quantize(u_Nn)
        scale_mN, half_mN, shift_mN, norm_N, unit_m = _requantizers(
            sum_N, multiplier_m, exponent_m, u_Nn.shape[-1], [fb for _, fb in formats]
        )
        # A quarter of the bytes, for the products and for what the backward pass keeps.
        q_Nn, trits = q_Nn.to(torch.int8), tuple(trits_rn.to(torch.int8) for trits_rn in trits)
        outputs, sides = [], []
        for trits_rn, scale_N, half_N, shift_N, (width_bits, fb) in zip(
            trits, scale_mN, half_mN, shift_mN, formats, strict=True
        ):
            acc_Nr = exact_product(q_Nn, trits_rn)
            out_Nr, side_Nr = _requantize(acc_Nr, scale_N, half_N, shift_N, width_bits)
            outputs.append(out_Nr.mul_(2.0**-fb))
            sides.append(side_Nr)
        ctx.save_for_backward(q_Nn, step_N, norm_N, unit_m, *trits, *sides)
        ctx.pull = pull
        ctx.dtype = torch.bfloat16 if torch.is_autocast_enabled(u_Nn.device.type) else torch.float32
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q_Nn, step_N, norm_N, unit_m, *saved = ctx.saved_tensors
        trits, sides = saved[: len(grads)], saved[len(grads) :]
        x_Nn = q_Nn * norm_N[:, None]
        grad_x_Nn = torch.zeros_like(x_Nn)
        grad_weights = []
        for grad, side_Nr, unit, trits_rn in zip(grads, sides, unit_m, trits, strict=True):
            grad_Nr = torch.where(side_Nr == 0, grad, ctx.pull * side_Nr).to(ctx.dtype)
            grad_weights.append((grad_Nr.T @ x_Nn.to(ctx.dtype)).to(torch.float32))
            if ctx.dtype == torch.float32:
                grad_x_Nn.addmm_(grad_Nr, trits_rn * unit)
            else:
                grad_x_Nn = grad_x_Nn + (grad_Nr @ trits_rn.to(ctx.dtype)) * unit
        along_N = torch.linalg.vecdot(grad_x_Nn, x_Nn) / x_Nn.shape[-1]
        grad_u_Nn = torch.addcmul(grad_x_Nn, x_Nn, along_N[:, None], value=-1)
        return grad_u_Nn * (step_N * norm_N)[:, None], None, None, *grad_weights


def _project_float(u: Tensor, matrix: BitLinear) -> Tensor:
    """The same ternary weights and scale on real RMSNorm(u)."""
    fan_in = u.shape[-1]
    trits, multiplier, exponent = quantize_ternary(matrix.weight)
    weight = trits * (multiplier * power_of_two(exponent - 8) / math.sqrt(fan_in))
    x = F.rms_norm(u, (fan_in,), eps=_RMS_EPS)
    return F.linear(x, straight_through(matrix.weight, weight))


def project(u_TBn: Tensor, matrices: Sequence[BitLinear], mode: Mode) -> tuple[Tensor, ...]:
    """Outputs [T, B, rows] of a segment's matrices, which share quantizer and norm of ``u_TBn``.

    In the quantized modes ``u_TBn`` must hold multiples of 2^-9 in [-64, 64), and each output is a
    multiple of 2^-fb of its role.
    """
    if mode == "float":
        return tuple(_project_float(u_TBn, matrix) for matrix in matrices)
    formats = [(matrix.role.width_bits, matrix.fraction_bits) for matrix in matrices]
    weights = [matrix.weight for matrix in matrices]
    vectors = u_TBn.flatten(0, -2)
    outputs: tuple[Tensor, ...] = _Projection.apply(vectors, formats, matrices[0].pull, *weights)
    for matrix, y_Nr in zip(matrices, outputs, strict=True):
        # z of f has the limits of its gate.
        if matrix.role.name != "f":
            note_range(y_Nr, matrix.role.width_bits, matrix.fraction_bits)
    return tuple(y_Nr.unflatten(0, u_TBn.shape[:-1]) for y_Nr in outputs)
