"""The baseline: a Transformer++ of the same size, trained on the same data.

Pre-norm with RMSNorm, rotary positions, causal attention, SwiGLU, no biases (Touvron et al., LLaMA,
2023; "Transformer++" in Gu and Dao, Mamba, 2023). It takes the sizes of a ModelConfig: each layer
has the 4 d^2 + 3 I d weights of an MLGRU and a GLU, and embedding and head are as large.

Shape suffixes: B batch, T time, d hidden size, I intermediate size, n heads, c channels of a head,
r rows of the head.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfree.contract.shape import ModelConfig

HEAD_CHANNELS = (64, 32)
"""Channels of an attention head: the first of which the hidden size is a multiple; of neither:
there is one head."""

_ROTARY_BASE = 10_000.0
_EPS = 1e-6
_INIT_STD = 0.02


@cache
def _rotary(length: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angles of positions 0..length-1, float32 [T, c / 2]."""
    frequencies = _ROTARY_BASE ** (
        -torch.arange(0, channels, 2, device=device, dtype=torch.float32) / channels
    )
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequencies)
    return angles.cos(), angles.sin()


def rotate(x_BnTc: Tensor) -> Tensor:
    """Rotary position embedding: channel pairs (c, c + C/2) turned by their position's angle."""
    # The compiler would trace past the cache, and warn of it.
    angles = _rotary.__wrapped__ if torch.compiler.is_compiling() else _rotary
    cosine, sine = angles(x_BnTc.shape[-2], x_BnTc.shape[-1], x_BnTc.device)
    a, b = x_BnTc.chunk(2, dim=-1)
    cosine, sine = cosine.to(x_BnTc.dtype), sine.to(x_BnTc.dtype)
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), dim=-1)


class Attention(nn.Module):
    """Causal self-attention over all positions of the window."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.heads = next((d // channels for channels in HEAD_CHANNELS if d % channels == 0), 1)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.o = nn.Linear(d, d, bias=False)

    def forward(self, x_BTd: Tensor) -> Tensor:
        """[B, T, d]."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x_BTd).chunk(3, dim=-1)
        )
        mixed_BnTc = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        y_BTd: Tensor = self.o(mixed_BnTc.transpose(1, 2).flatten(2))
        return y_BTd


class SwiGLU(nn.Module):
    """down(SiLU(gate) * up)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, intermediate = config.hidden_size, config.intermediate_size
        self.gate_up = nn.Linear(d, 2 * intermediate, bias=False)
        self.down = nn.Linear(intermediate, d, bias=False)

    def forward(self, x_BTd: Tensor) -> Tensor:
        """[B, T, d]."""
        gate, up = self.gate_up(x_BTd).chunk(2, dim=-1)
        y_BTd: Tensor = self.down(F.silu(gate) * up)
        return y_BTd


class Block(nn.Module):
    """Attention and SwiGLU, each after a norm and added to the residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.attention_norm, self.glu_norm = nn.RMSNorm(d, eps=_EPS), nn.RMSNorm(d, eps=_EPS)
        self.attention, self.glu = Attention(config), SwiGLU(config)

    def forward(self, x_BTd: Tensor) -> Tensor:
        """[B, T, d]."""
        x_BTd = x_BTd + self.attention(self.attention_norm(x_BTd))
        residual: Tensor = x_BTd + self.glu(self.glu_norm(x_BTd))
        return residual


class Transformer(nn.Module):
    """Transformer++ language model over windows of text, with no state from window to window."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=_EPS)
        self.head = nn.Linear(config.hidden_size, config.head_size, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                # Projections into the residual start smaller, by their number (GPT-2).
                into_residual = name.endswith(("o.weight", "down.weight"))
                scale = (2 * config.num_layers) ** -0.5 if into_residual else 1.0
                nn.init.normal_(parameter, std=_INIT_STD * scale)

    def forward(
        self, ids_BT: Tensor, state: None = None, mode: str = "train"
    ) -> tuple[Tensor, None]:
        """Logits in nats, float32 [B, T, head_size], of token ids int64 [B, T]; no state.

        ``state`` and ``mode`` are there to be called as ``MatMulFreeLM`` is; every mode is the
        same.
        """
        x_BTd = self.embedding(ids_BT)
        for block in self.layers:
            x_BTd = block(x_BTd)
        logits: Tensor = self.head(self.norm(x_BTd))
        return logits, None
