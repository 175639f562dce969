"""The MatMul-free language model under torch, in the arithmetic of docs/arithmetic.md.

MatMul-free LM (arXiv 2406.02528): embedding; layers of MLGRU and GLU, each with a residual; ternary
head. The layout inside is time-major, so that a time step of the recurrence is one contiguous
slice.

Shape suffixes: T time, B batch, d hidden size, s channels of the token shift, w words of a layer's
state (s + d + s), I intermediate size, V vocabulary, L layers, r rows of the head.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfree.contract.pow2 import (
    DEFAULT_FORMATS,
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    VALUE_BITS,
    sigmoid_table,
    silu_table,
)
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.models import gpu_scan
from mmfree.models.bitlinear import BitLinear, Mode, project
from mmfree.models.quantize import (
    fake_quantize_bias,
    fake_quantize_embedding,
    round_half_up,
    saturate,
    saved_mask,
)
from mmfree.models.ranges import note_range
from mmfree.models.scan import fast_scan, rounded_scan
from mmfree.models.sequence_state import starting_state

MODES = ("train", "fakequant", "float")

_RESIDUAL_FB = DEFAULT_FORMATS.residual_fb
_INDEX_FB = DEFAULT_FORMATS.index_fb
_STEP = 2.0**-_RESIDUAL_FB
_EMBEDDING_STD = 0.25


@cache
def _table(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Values of a table of section 8 in real units, and the slopes there: float32 [256]."""
    x = torch.arange(INT8_MIN, INT8_MAX + 1, dtype=torch.float64) * 2.0**-_INDEX_FB
    sigmoid = torch.sigmoid(x)
    if name == "sigmoid":
        integers, fraction_bits = sigmoid_table(), DEFAULT_FORMATS.forget_fb
        slope = sigmoid * (1 - sigmoid)
    else:
        integers, fraction_bits = silu_table(), DEFAULT_FORMATS.state_fb
        slope = sigmoid * (1 + x * (1 - sigmoid))
    values = torch.from_numpy(integers).to(torch.float32) * 2.0**-fraction_bits
    return values.to(device), slope.to(torch.float32).to(device)


class _TableLookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, slope: Tensor) -> Tensor:
        n = x.mul(2.0**_INDEX_FB).add_(0.5).floor_()
        saturated = n.clamp(INT8_MIN, INT8_MAX)
        passes = n.eq_(saturated)
        index = saturated.sub_(INT8_MIN).to(torch.int32).flatten()
        ctx.save_for_backward(index, passes, slope)
        # On a flat index, index_select is several times faster than indexing or embedding.
        return values.index_select(0, index).view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        index, passes, slope = ctx.saved_tensors
        slope_x = slope.index_select(0, index).view_as(passes)
        return slope_x.mul_(passes).mul_(grads[0]), None, None


class _ComputedLookup(torch.autograd.Function):
    """The same computed, with the table's 256 results exactly (a test compares all).

    torch.compile turns it into vector instructions, where it would gather a table one entry at a
    time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, fraction_bits: int) -> Tensor:
        n = torch.floor(x * 2.0**_INDEX_FB + 0.5)
        saturated = n.clamp(INT8_MIN, INT8_MAX)
        entry = saturated.to(torch.int8)
        ctx.save_for_backward(entry, saved_mask(n == saturated))
        ctx.name = name
        # From the saved byte here too: if the backward pass computes the value again, it needs no
        # second exponential.
        at = entry * 2.0**-_INDEX_FB
        value = torch.sigmoid(at) if name == "sigmoid" else at * torch.sigmoid(at)
        return torch.floor(value * 2.0**fraction_bits + 0.5) * 2.0**-fraction_bits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        entry, passes = ctx.saved_tensors
        at = entry * 2.0**-_INDEX_FB
        sigmoid = torch.sigmoid(at)
        slope = (
            sigmoid * (1 - sigmoid) if ctx.name == "sigmoid" else sigmoid * (1 + at * (1 - sigmoid))
        )
        return grads[0] * slope * passes, None, None


def lookup(x: Tensor, name: str) -> Tensor:
    """Table "sigmoid" or "silu" at ``x``, rounded and saturated to n/16, n = -128..127 (section 8).

    The gradient is the function's own slope at the entry, and zero where the index saturated.
    """
    if torch.compiler.is_compiling():
        bits = DEFAULT_FORMATS.forget_fb if name == "sigmoid" else DEFAULT_FORMATS.state_fb
        computed: Tensor = _ComputedLookup.apply(x, name, bits)
        return computed
    result: Tensor = _TableLookup.apply(x, *_table(name, x.device))
    return result


def silu(x: Tensor, mode: Mode) -> Tensor:
    """SiLU in real units: exact in mode float, else the table."""
    return F.silu(x) if mode == "float" else lookup(x, "silu")


def forget_gate(z: Tensor, bias: Tensor, gate: str, fraction_bits: int, mode: Mode) -> Tensor:
    """The forget gate f of section 9.

    "sigmoid": sigmoid(z + bias); "hard": clamp(1/2 + (z + bias)/4, 0, 1); "signed":
    clamp((z + bias)/4, -1, 1).
    """
    z = z + fake_quantize_bias(bias, fraction_bits)
    if gate == "hard":
        return saturate(z * 0.25 + 0.5, 0.0, 1.0)
    if gate == "signed":
        return saturate(z * 0.25, -1.0, 1.0)
    return torch.sigmoid(z) if mode == "float" else lookup(z, "sigmoid")


def scan(f_TBd: Tensor, c_TBd: Tensor, h0_Bd: Tensor, gate: str, mode: Mode) -> Tensor:
    """States [T, B, d] (section 10), rounded at every step in mode fakequant, else not.

    In mode train they are computed by a GPU's kernels, if there are any.
    """
    if mode == "fakequant":
        return rounded_scan(f_TBd, c_TBd, h0_Bd)
    kernels = mode == "train" and gpu_scan.usable(f_TBd, gate)
    return fast_scan(f_TBd, c_TBd, h0_Bd, signed=gate == "signed", kernels=kernels)


def gated_product(operand: Tensor, gate: Tensor, mode: Mode) -> Tensor:
    """operand * gate in the residual's format (sections 11 and 12).

    No saturation: with the tables of section 8, |product| <= 8 * 7.94 < 64.
    """
    product = operand * gate
    if mode == "float":
        return product
    product = round_half_up(product, _RESIDUAL_FB)
    note_range(product, VALUE_BITS, _RESIDUAL_FB)
    return product


def residual_add(x: Tensor, y: Tensor, mode: Mode) -> Tensor:
    """x + y, saturated to int16 with 9 fraction bits (section 13) except in mode float."""
    total = x + y
    if mode == "float":
        return total
    total = saturate(total, INT16_MIN * _STEP, INT16_MAX * _STEP)
    note_range(total, VALUE_BITS, _RESIDUAL_FB, residual=True)
    return total


def token_shift(x_TBd: Tensor, before_Bs: Tensor) -> tuple[Tensor, Tensor]:
    """x with its first s channels from the position before (section 19), and those of the last.

    ``before_Bs``: those of the position before the first.
    """
    channels = before_Bs.shape[-1]
    if channels == 0:
        return x_TBd, before_Bs
    first_TBs, rest = x_TBd[..., :channels], x_TBd[..., channels:]
    shifted_TBs = torch.cat((before_Bs[None], first_TBs[:-1]))
    return torch.cat((shifted_TBs, rest), dim=-1), first_TBs[-1]


class MLGRU(nn.Module):
    """Token mixer: the MatMul-free linear gated recurrent unit."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.gate = config.gate
        self.i = BitLinear("i", d, d, config.gate)
        self.f = BitLinear("f", d, d, config.gate, bias=True)
        self.g = BitLinear("g", d, d, config.gate)
        self.o = BitLinear("o", d, d, config.gate)

    def forward(self, x_TBd: Tensor, h0_Bd: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        """Output [T, B, d] and the state after the last step [B, d]."""
        i_TBd, z_TBd, g_TBd = project(x_TBd, (self.i, self.f, self.g), mode)
        assert self.f.bias is not None
        f_TBd = forget_gate(z_TBd, self.f.bias, self.gate, self.f.fraction_bits, mode)
        h_TBd = scan(f_TBd, silu(i_TBd, mode), h0_Bd, self.gate, mode)
        note_range(h_TBd, VALUE_BITS, DEFAULT_FORMATS.state_fb)
        u_TBd = gated_product(g_TBd, silu(h_TBd, mode), mode)
        (y_TBd,) = project(u_TBd, (self.o,), mode)
        return y_TBd, h_TBd[-1]


class GLU(nn.Module):
    """Channel mixer: down(SiLU(gate) * up)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, intermediate = config.hidden_size, config.intermediate_size
        self.gate = BitLinear("gate", d, intermediate, config.gate)
        self.up = BitLinear("up", d, intermediate, config.gate)
        self.down = BitLinear("down", intermediate, d, config.gate)

    def forward(self, x_TBd: Tensor, mode: Mode) -> Tensor:
        """Output [T, B, d]."""
        gate_TBI, up_TBI = project(x_TBd, (self.gate, self.up), mode)
        u_TBI = gated_product(up_TBI, silu(gate_TBI, mode), mode)
        (y_TBd,) = project(u_TBI, (self.down,), mode)
        return y_TBd


class Layer(nn.Module):
    """MLGRU and GLU, each added to the residual. The norms are the BitLinears' own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shift = config.token_shift
        self.state_parts = [shift, config.hidden_size, shift]
        self.mixer = MLGRU(config)
        self.glu = GLU(config)

    def forward(self, x_TBd: Tensor, state_Bw: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        """Residual [T, B, d] and the state after the last step [B, w]."""
        gates_Bs, h_Bd, glu_Bs = state_Bw.split(self.state_parts, dim=-1)
        shifted_TBd, gates_Bs = token_shift(x_TBd, gates_Bs)
        y_TBd, h_Bd = self.mixer(shifted_TBd, h_Bd, mode)
        x_TBd = residual_add(x_TBd, y_TBd, mode)
        shifted_TBd, glu_Bs = token_shift(x_TBd, glu_Bs)
        x_TBd = residual_add(x_TBd, self.glu(shifted_TBd, mode), mode)
        return x_TBd, torch.cat((gates_Bs, h_Bd, glu_Bs), dim=-1)


class MatMulFreeLM(nn.Module):
    """Ternary MatMul-free language model with latent float32 weights.

    Modes of ``forward`` and ``step``:

    - "train": the contract's arithmetic with a fast scan, h unrounded between steps;
    - "fakequant": the contract's arithmetic; logits * 2^9, h * 2^11 and the x that a token shift
      keeps * 2^9 are the golden model's integers;
    - "float": the same ternary weights, embedding and biases, with activations not quantized.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_STD)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.head = BitLinear("head", config.hidden_size, config.head_size, config.gate)

    @staticmethod
    def makes_residual(name: str) -> bool:
        """Whether the parameter of this name decides the scale of the residual: with all of these
        half as large x is, and what the norms make of it stays the same, but for its rounding.
        """
        return name == "embedding.weight" or name.endswith((".o.weight", ".down.weight"))

    def spread_memory(self, shortest: float, longest: float) -> None:
        """Set the biases of the forget gates so that f = 1 - 1/t where z is 0: a channel has
        forgotten all but about 1/e after t tokens.

        By its logarithm t is spread over the channels evenly up to ``longest``, from ``shortest``
        in the first layer and from more the deeper a layer is: of L layers, one L-th of the way
        more in each. (A bias of 0 is t = 2; with gate "signed" t = 1.)
        """
        first, last = math.log2(shortest), math.log2(longest)
        mixers = [module for module in self.modules() if isinstance(module, MLGRU)]
        for number, mixer in enumerate(mixers):
            least = first + (last - first) * number / len(mixers)
            t_d = torch.logspace(least, last, self.config.hidden_size, base=2)
            biases = {"sigmoid": (t_d - 1).log(), "hard": 2 - 4 / t_d, "signed": 4 - 4 / t_d}
            assert mixer.f.bias is not None
            with torch.no_grad():
                mixer.f.bias.copy_(biases[self.config.gate])

    def hold_ranges(self, pull: float) -> None:
        """Give outputs beyond the limits of their width a gradient of ``pull`` towards them, in
        nats per unit, in place of none.
        """
        for module in self.modules():
            if isinstance(module, BitLinear):
                module.pull = pull

    def initial_state(self, batch: int) -> Tensor:
        """The state at the start of a sequence: zeros [L, B, w]."""
        shape = (self.config.num_layers, batch, self.config.state_width)
        return torch.zeros(shape, device=self.head.weight.device)

    def forward(
        self, ids_BT: Tensor, state_LBw: Tensor | None = None, mode: Mode = "train"
    ) -> tuple[Tensor, Tensor]:
        """Logits in nats, float32 [B, T, head_size], and the state after the last position.

        Parameters
        ----------
        ids_BT
            Token ids 0..vocab_size-1, int64 [B, T], T >= 1.
        state_LBw
            State before the first position, float32 [L, B, w] in real units; None: start of a
            sequence.
        mode
            See the class.

        Raises
        ------
        InputError
            For an unknown mode, or ids or a state of another shape.
        """
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        state_LBw = starting_state(ids_BT, state_LBw, self.initial_state)
        x_TBd = F.embedding(ids_BT.T, fake_quantize_embedding(self.embedding.weight))
        states = []
        for layer, state_Bw in zip(self.layers, state_LBw, strict=True):
            x_TBd, state_Bw = layer(x_TBd, state_Bw, mode)
            states.append(state_Bw)
        (logits_TBr,) = project(x_TBd, (self.head,), mode)
        return logits_TBr.transpose(0, 1), torch.stack(states)

    def step(
        self, ids_B: Tensor, state_LBw: Tensor, mode: Mode = "fakequant"
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, head_size] and the next state for one position, in constant memory."""
        logits_BTr, state_LBw = self(ids_B[:, None], state_LBw, mode)
        return logits_BTr[:, 0], state_LBw
