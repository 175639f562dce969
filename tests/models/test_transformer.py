"""The baseline: causal, with as many parameters as the model it is compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmfree.contract.shape import ModelConfig
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.transformer import HEAD_CHANNELS, Transformer, rotate

CONFIG = ModelConfig(
    vocab_size=40, head_size=40, hidden_size=128, intermediate_size=344, num_layers=2
)


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_both_models_have_the_same_size() -> None:
    own, baseline = parameters(MatMulFreeLM(CONFIG)), parameters(Transformer(CONFIG))
    assert own == CONFIG.num_parameters
    assert abs(own / baseline - 1) < 0.002, "biases of the forget gate against gains of the norms"


def test_no_position_sees_what_comes_later() -> None:
    torch.manual_seed(0)
    model, ids = Transformer(CONFIG), torch.randint(0, 40, (2, 9))
    changed = ids.clone()
    changed[:, 5] = (ids[:, 5] + 1) % 40
    before, after = model(ids)[0], model(changed)[0]
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_rotation_keeps_lengths_and_tells_distances() -> None:
    torch.manual_seed(0)
    q = torch.randn(1, 1, 1, HEAD_CHANNELS[0]).expand(1, 1, 8, -1)
    turned = rotate(q)
    assert torch.allclose(turned.norm(dim=-1), q.norm(dim=-1), rtol=1e-5)
    scores = (turned @ turned.transpose(-1, -2))[0, 0]
    for distance in range(8):
        assert torch.allclose(
            scores.diagonal(distance), scores[0, distance].expand(8 - distance), rtol=1e-3
        )


@pytest.mark.parametrize("hidden_size", [64, 96, 20])
def test_any_even_width_has_heads(hidden_size: int) -> None:
    config = ModelConfig(
        vocab_size=9, head_size=5, hidden_size=hidden_size, intermediate_size=24, num_layers=1
    )
    logits, state = Transformer(config)(torch.zeros(1, 3, dtype=torch.int64))
    assert logits.shape == (1, 3, 5)
    assert state is None


def norm(x: NDArray[np.float64], gain: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gain


def turned(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T, heads, C]: channels c and c + C/2 as one complex number, turned by t * 10000^(-2c/C)."""
    length, _, channels = x.shape
    half = channels // 2
    angles = np.outer(np.arange(length), 10_000.0 ** (-2 * np.arange(half) / channels))
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)[:, None]
    return np.concatenate([z.real, z.imag], axis=-1)


@pytest.mark.parametrize(("hidden_size", "heads"), [(128, 2), (64, 1), (48, 1), (192, 3), (160, 5)])
def test_logits_are_those_of_a_plain_one(hidden_size: int, heads: int) -> None:
    """In NumPy, one position and one head after another: LLaMA's block, written out."""
    config = replace(CONFIG, hidden_size=hidden_size, intermediate_size=30, head_size=7)
    torch.manual_seed(2)
    model = Transformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Far from the linear part of every function.
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 2 else 1.0))
    w = {name: tensor.detach().double().numpy() for name, tensor in model.named_parameters()}
    ids = torch.randint(0, 40, (2, 9))
    found = model(ids)[0].detach().numpy()
    for row, logits in zip(ids.numpy(), found, strict=True):
        x = w["embedding.weight"][row]
        for layer in range(config.num_layers):
            own = {
                name.removeprefix(f"layers.{layer}."): value
                for name, value in w.items()
                if name.startswith(f"layers.{layer}.")
            }
            u = norm(x, own["attention_norm.weight"])
            q, k, v = np.split(u @ own["attention.qkv.weight"].T, 3, axis=1)
            q, k, v = (part.reshape(len(row), heads, -1) for part in (q, k, v))
            q, k = turned(q), turned(k)
            mixed = np.zeros_like(v)
            for t in range(len(row)):
                for head in range(heads):
                    scores = k[: t + 1, head] @ q[t, head] / np.sqrt(hidden_size / heads)
                    shares = np.exp(scores - scores.max())
                    mixed[t, head] = shares @ v[: t + 1, head] / shares.sum()
            x = x + mixed.reshape(len(row), -1) @ own["attention.o.weight"].T
            u = norm(x, own["glu_norm.weight"])
            gate, up = np.split(u @ own["glu.gate_up.weight"].T, 2, axis=1)
            x = x + (gate / (1 + np.exp(-gate)) * up) @ own["glu.down.weight"].T
        wanted = norm(x, w["norm.weight"]) @ w["head.weight"].T
        np.testing.assert_allclose(logits, wanted, rtol=2e-3, atol=2e-3)


def test_weights_begin_as_those_of_gpt_2() -> None:
    """Standard deviation 0.02; into the residual over the root of twice the layers; gains of 1."""
    torch.manual_seed(0)
    for name, parameter in Transformer(replace(CONFIG, num_layers=8)).named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            smaller = name.endswith(("o.weight", "down.weight"))
            wanted = 0.02 / 4 if smaller else 0.02
            assert float(parameter.detach().std()) == pytest.approx(wanted, rel=0.05), name


def test_it_is_called_as_the_other_model_is() -> None:
    torch.manual_seed(0)
    model, ids = Transformer(CONFIG), torch.randint(0, 40, (1, 4))
    plain = model(ids)[0]
    for mode in ("train", "fakequant"):
        logits, state = model(ids, None, mode=mode)
        assert torch.equal(logits, plain)
        assert state is None
