"""The baseline: causal, with as many parameters as the model it is compared with."""

from __future__ import annotations

import pytest
import torch

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
    q = torch.randn(1, 1, 1, HEAD_CHANNELS).expand(1, 1, 8, -1)
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
