"""The published model in float64: the released formulas, written apart from export and golden.

Facts: github.com/ridgerchu/matmulfreellm (mmfreelm: models/hgrn_bit, layers/hgrn_bit.py,
ops/fusedbitnet.py, modules/layernorm.py). Nothing of mmfree is used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

Floats = NDArray[np.float64]


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def silu(x: Floats) -> Floats:
    return x * sigmoid(x)


def rms_norm(x: Floats, gain: Floats, eps: float) -> Floats:
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps) * gain


def round_half_away(x: Floats) -> Floats:
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)


def bit_linear(x: Floats, weight: Floats, gain: Floats, eps: float = 1e-6) -> Floats:
    """Norm, int8 activations by their largest, ternary weights by their mean, product, and both
    scales.
    """
    y = rms_norm(x, gain, eps)
    scale = 127 / np.maximum(np.abs(y).max(axis=-1, keepdims=True), 1e-5)
    q = np.clip(round_half_away(y * scale), -128, 127)
    weight_scale = 1 / max(np.abs(weight).mean(), 1e-5)
    t = np.clip(np.round(weight * weight_scale), -1, 1)
    return (q @ t.T) / (scale * weight_scale)


class Shards(Mapping[str, Any]):
    """The tensors of a folder of safetensors files as float64 arrays, each read when it is asked
    for.
    """

    def __init__(self, folder: Path) -> None:
        files = [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]
        self.places = {name: file for file in files for name in tuple(file.keys())}

    def __getitem__(self, name: str) -> Floats:
        return self.places[name].get_tensor(name).double().numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class FloatReading:
    """Runs a checkpoint, a mapping of names to float64 arrays.

    Every stage can be called by itself. ``stored``: what becomes of the residual and of h when they
    are stored (in float64 nothing).
    """

    def __init__(
        self,
        tensors: dict[str, Tensor] | Mapping[str, Any],
        eps: float = 1e-6,
        stored: Callable[[Floats], Floats] = np.asarray,
    ) -> None:
        self.stored = stored
        self.w = (
            {n: t.double().numpy() for n, t in tensors.items()}
            if isinstance(tensors, dict)
            else tensors
        )
        self.eps, self.projection_eps = eps, 1e-6
        self.layers = 1 + max(
            int(name.split(".")[2]) for name in self.w if name.startswith("model.layers.")
        )
        self.bounds = np.zeros((self.layers, 1))
        if "model.lower_bounds" in self.w:
            e = np.exp(self.w["model.lower_bounds"])
            share = e / e.sum(axis=0)
            self.bounds = np.cumsum(share, axis=0) - share[0]

    def linear(self, name: str, x: Floats) -> Floats:
        return bit_linear(
            x, self.w[f"{name}.weight"], self.w[f"{name}.norm.weight"], self.projection_eps
        )

    def norm(self, name: str, x: Floats) -> Floats:
        return rms_norm(x, self.w[f"{name}.weight"], self.eps)

    def embed(self, ids: NDArray[np.int64]) -> Floats:
        return self.w["model.embeddings.weight"][ids]

    def gates(self, layer: int, x: Floats) -> tuple[Floats, Floats, Floats]:
        n = self.norm(f"model.layers.{layer}.attn_norm", x)
        i, f, g = (self.linear(f"model.layers.{layer}.attn.{role}_proj", n) for role in "ifg")
        return i, f, g

    def state(self, layer: int, i: Floats, f: Floats, h: Floats) -> Floats:
        f = sigmoid(f)
        if layer > 0:
            f = self.bounds[layer] + (1 - self.bounds[layer]) * f
        return f * h + silu(i) * (1 - f)

    def output(self, layer: int, g: Floats, h: Floats) -> Floats:
        o = self.norm(f"model.layers.{layer}.attn.g_norm", g) * silu(h)
        return self.linear(f"model.layers.{layer}.attn.o_proj", o)

    def glu(self, layer: int, x: Floats) -> tuple[Floats, Floats]:
        both = self.linear(
            f"model.layers.{layer}.mlp.gate_proj", self.norm(f"model.layers.{layer}.mlp_norm", x)
        )
        half = both.shape[-1] // 2
        return both[..., :half], both[..., half:]

    def down(self, layer: int, u: Floats) -> Floats:
        return self.linear(f"model.layers.{layer}.mlp.down_proj", u)

    def head(self, x: Floats) -> Floats:
        return self.linear("lm_head", self.norm("model.norm", x))

    def play(self, ids: NDArray[np.int64]) -> Floats:
        """Logits [T, V] of one sequence."""
        logits = []
        h = [np.zeros((1, 1))] * self.layers
        for token in ids:
            x = self.stored(self.embed(np.array([token])))
            for layer in range(self.layers):
                i, f, g = self.gates(layer, x)
                h[layer] = self.stored(self.state(layer, i, f, h[layer]))
                x = self.stored(x + self.output(layer, g, h[layer]))
                gate, up = self.glu(layer, x)
                x = self.stored(x + self.down(layer, silu(gate) * up))
            logits.append(self.head(x)[0])
        return np.stack(logits)
