"""Published checkpoints under torch: the released forward pass in float32.

The golden model's integers are compared with it. Its formulas are those at the head of
docs/arithmetic_absmax.md: norms with gains, int8 activations scaled by their largest, ternary
weights with one scale for each matrix. Modules have the names of the checkpoint's tensors. Weights
stay ternary in memory, a byte each, and cannot be trained.

Shape suffixes: T time, B batch, d hidden size, I intermediate size, V vocabulary, L layers, n
fan-in, r rows of a matrix, N vectors.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from mmfree.contract.absmax import PROJECTION_EPS
from mmfree.contract.shape import AbsmaxConfig
from mmfree.errors import InputError
from mmfree.models.exact_product import exact_product
from mmfree.models.scan import fast_scan
from mmfree.models.sequence_state import starting_state
from mmfree.published.export import quantize_matrix
from mmfree.published.hgrn_bit import LOWER_BOUNDS, lower_bounds, open_checkpoint
from mmfree.published.tensors import Tensors

MODES = ("float",)

_INT8_MAX = 127
_SMALLEST_LARGEST = 1e-5
"""Lower limit of a vector's largest magnitude in the released quantizer of activations."""


def round_half_away(x: Tensor) -> Tensor:
    """The nearest integers, halves away from zero, as the released kernel rounds.

    ``torch.round`` would take the even one.
    """
    whole = x.trunc()
    return whole + (x - whole).mul_(2).trunc_()


def quantize_activations(y: Tensor) -> tuple[Tensor, Tensor]:
    """Integers -128..127 of each vector, [..., n], and the factor that it was scaled by, [..., 1].

    Both are of the type of ``y``.
    """
    scale = _INT8_MAX / y.abs().amax(dim=-1, keepdim=True).clamp(min=_SMALLEST_LARGEST)
    return round_half_away(y * scale).clamp_(-_INT8_MAX - 1, _INT8_MAX), scale


class RMSNorm(nn.Module):
    """x * gain / sqrt(mean x^2 + eps) over the last axis."""

    weight: Tensor

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Like ``x``."""
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.eps) * self.weight


class TernaryLinear(nn.Module):
    """A projection: its own norm, int8 activations, trits, and both scales.

    ``trits``: int8 [rows, fan_in] of -1, 0, +1. ``absmean``: mean |W|, the value of a trit.
    """

    trits: Tensor

    def __init__(self, fan_in: int, rows: int) -> None:
        super().__init__()
        self.norm = RMSNorm(fan_in, PROJECTION_EPS)
        self.register_buffer("trits", torch.zeros(rows, fan_in, dtype=torch.int8))
        self.absmean = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """[..., rows] for x [..., fan_in]."""
        q, scale = quantize_activations(self.norm(x))
        product = exact_product(q.flatten(0, -2), self.trits).to(q.dtype)
        return product.unflatten(0, q.shape[:-1]).mul_(self.absmean / scale)


class Mixer(nn.Module):
    """Token mixer: the gated recurrence, with a lower bound of the forget gate."""

    lower_bound: Tensor

    def __init__(self, config: AbsmaxConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.i_proj, self.f_proj, self.g_proj, self.o_proj = (TernaryLinear(d, d) for _ in range(4))
        self.g_norm = RMSNorm(d, config.norm_eps)
        self.register_buffer("lower_bound", torch.zeros(d))

    def forward(self, x_TBd: Tensor, h0_Bd: Tensor) -> tuple[Tensor, Tensor]:
        """Output [T, B, d] and the state after the last step [B, d]."""
        f_TBd = self.lower_bound + (1 - self.lower_bound) * torch.sigmoid(self.f_proj(x_TBd))
        h_TBd = fast_scan(f_TBd, F.silu(self.i_proj(x_TBd)), h0_Bd)
        gated_TBd = self.g_norm(self.g_proj(x_TBd)) * F.silu(h_TBd)
        # A copy, so that the other steps' states do not stay in memory.
        return self.o_proj(gated_TBd), h_TBd[-1].clone()


class GLU(nn.Module):
    """Channel mixer: down(SiLU(gate) * up); gate and up are one matrix with one scale."""

    def __init__(self, config: AbsmaxConfig) -> None:
        super().__init__()
        self.gate_proj = TernaryLinear(config.hidden_size, 2 * config.intermediate_size)
        self.down_proj = TernaryLinear(config.intermediate_size, config.hidden_size)

    def forward(self, x_TBd: Tensor) -> Tensor:
        """Output [T, B, d]."""
        gate_TBI, up_TBI = self.gate_proj(x_TBd).chunk(2, dim=-1)
        output_TBd: Tensor = self.down_proj(F.silu(gate_TBI) * up_TBI)
        return output_TBd


class Layer(nn.Module):
    """Both mixers, each after a norm and added to the residual."""

    def __init__(self, config: AbsmaxConfig) -> None:
        super().__init__()
        self.attn_norm, self.mlp_norm = (
            RMSNorm(config.hidden_size, config.norm_eps) for _ in range(2)
        )
        self.attn, self.mlp = Mixer(config), GLU(config)

    def forward(self, x_TBd: Tensor, h0_Bd: Tensor) -> tuple[Tensor, Tensor]:
        """Residual [T, B, d] and the state after the last step [B, d]."""
        y_TBd, h_Bd = self.attn(self.attn_norm(x_TBd), h0_Bd)
        x_TBd = x_TBd + y_TBd
        return x_TBd + self.mlp(self.mlp_norm(x_TBd)), h_Bd


class Embedding(nn.Module):
    """A row for each token, not ternary."""

    weight: Tensor

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(rows, size))

    def forward(self, ids: Tensor) -> Tensor:
        """[..., size] for ids [...]."""
        return F.embedding(ids, self.weight)


class Body(nn.Module):
    """All but the head."""

    def __init__(self, config: AbsmaxConfig) -> None:
        super().__init__()
        self.embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)


class PublishedLM(nn.Module):
    """A published model; ``load_published`` fills it. Used as ``MatMulFreeLM`` is.

    The one mode of ``forward`` and ``step`` is "float": the released arithmetic, activations
    rounded to int8 and weights ternary as released, everything else in floating point. The integers
    of docs/arithmetic_absmax.md are the golden model's alone.
    """

    def __init__(self, config: AbsmaxConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Body(config)
        self.lm_head = TernaryLinear(config.hidden_size, config.vocab_size)

    def initial_state(self, batch: int) -> Tensor:
        """The state at the start of a sequence: zeros [L, B, d]."""
        return self.model.norm.weight.new_zeros(
            self.config.num_layers, batch, self.config.hidden_size
        )

    def forward(
        self, ids_BT: Tensor, state_LBd: Tensor | None = None, mode: str = "float"
    ) -> tuple[Tensor, Tensor]:
        """Logits in nats, float32 [B, T, V], and the state after the last position.

        Parameters
        ----------
        ids_BT
            Token ids 0..vocab_size-1, int64 [B, T], T >= 1.
        state_LBd
            State before the first position, float32 [L, B, d]; None: start of a sequence.
        mode
            "float".

        Raises
        ------
        InputError
            For another mode, or ids or a state of another shape.
        """
        if mode not in MODES:
            raise InputError(
                f"mode must be float for a published checkpoint, got {mode!r}; the golden model"
                " computes its integers"
            )
        state_LBd = starting_state(ids_BT, state_LBd, self.initial_state)
        x_TBd = self.model.embeddings(ids_BT.T)
        states = []
        for layer, h0_Bd in zip(self.model.layers, state_LBd, strict=True):
            x_TBd, h_Bd = layer(x_TBd, h0_Bd)
            states.append(h_Bd)
        return self.lm_head(self.model.norm(x_TBd)).transpose(0, 1), torch.stack(states)

    def step(self, ids_B: Tensor, state_LBd: Tensor, mode: str = "float") -> tuple[Tensor, Tensor]:
        """Logits [B, V] and the next state for one position; memory does not grow with time."""
        logits_BTV, state_LBd = self(ids_B[:, None], state_LBd, mode)
        return logits_BTV[:, 0], state_LBd


@torch.no_grad()
def load_published(folder: Path, dtype: torch.dtype = torch.float32) -> PublishedLM:
    """The checkpoint in ``folder``, read tensor by tensor.

    Besides the model itself this takes the memory of one matrix's trits.

    Parameters
    ----------
    folder
        As for ``mmfree export``: config.json of model_type hgrn_bit and safetensors, single or
        sharded.
    dtype
        Of all that is not ternary, and of the arithmetic: float32, or float64 as a reference.

    Raises
    ------
    InputError
        If the folder cannot be read as a published checkpoint; the message names file and tensor.
    """
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    config, tensors = open_checkpoint(folder)
    model = PublishedLM(config).to(dtype)
    bounds = lower_bounds(tensors, config)
    for module, bound in zip(model.model.layers, bounds, strict=True):
        assert isinstance(module, Layer)
        module.attn.lower_bound.copy_(torch.from_numpy(bound))
    with tqdm(total=len(tensors), unit="tensor", disable=None, leave=False) as progress:
        progress.update(LOWER_BOUNDS in tensors)
        for name, module in model.named_modules():
            if isinstance(module, TernaryLinear):
                trits, module.absmean = quantize_matrix(tensors, f"{name}.weight")
                module.trits.copy_(torch.from_numpy(trits))
            elif isinstance(module, RMSNorm | Embedding):
                _read(tensors, f"{name}.weight", module.weight)
            else:
                continue
            progress.update()
    return model


def _read(tensors: Tensors, name: str, target: Tensor) -> None:
    """Fill ``target``, block by block."""
    rows = target.view(-1, target.shape[-1])
    first = 0
    for block in tensors.blocks(name):
        rows[first : first + len(block)].copy_(torch.from_numpy(block))
        first += len(block)
