"""What training speed is measured against: the unfused model is the same, and memory is counted."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfree.contract.shape import ModelConfig
from mmfree.models.bitlinear import BitLinear, project
from mmfree.models.matmul_free import MatMulFreeLM, lookup
from tools.experiments import unfused
from tools.experiments.unfused import UnfusedLM
from tools.measure.training_speed import SHAPES, Weighed, main

TINY = [
    *("--batch", "2", "--length", "5", "--hidden", "16", "--intermediate", "24"),
    *("--layers", "1", "--vocab", "11", "--threads", "1"),
]


def test_unfused_projection_agrees_with_the_fused_one_to_rounding() -> None:
    torch.manual_seed(0)
    matrices = (BitLinear("i", 48, 64, "hard"), BitLinear("o", 48, 64, "hard"))
    u = ((torch.randn(5, 3, 48) * 512).round() / 512).requires_grad_()
    inputs = [u, *(matrix.weight for matrix in matrices)]
    weights = torch.randn(5, 3, 64)
    results = []
    for projection in (project, unfused._project):
        outputs = projection(u, matrices, "train")
        gradients = torch.autograd.grad(sum((y * weights).sum() for y in outputs), inputs)
        results.append((outputs, gradients))
    (fused, fused_gradients), (plain, plain_gradients) = results
    for matrix, a, b in zip(matrices, fused, plain, strict=True):
        # The norm of the contract is a table of eight bits for sums in bins of 1/64: half a bin's
        # root, half a bit of it, half a bit of the scale; and one step of the output.
        bound = a.abs() / 64 + 2.0**-matrix.fraction_bits
        assert ((a - b).abs() <= bound).all()
    for c, d in zip(fused_gradients, plain_gradients, strict=True):
        assert (c - d).norm() < 0.01 * c.norm()


@pytest.mark.parametrize("name", ["sigmoid", "silu"])
def test_unfused_lookup_has_the_values_of_the_table(name: str) -> None:
    x = torch.linspace(-10, 10, 4001)
    assert torch.equal(unfused._lookup(x, name), lookup(x, name))


@pytest.mark.parametrize("gate", ["hard", "sigmoid", "signed"])
def test_unfused_model_learns_the_same_way(gate: str) -> None:
    config = ModelConfig(
        vocab_size=64, head_size=64, hidden_size=48, intermediate_size=80, num_layers=2, gate=gate
    )
    ids = torch.randint(0, 64, (3, 20), generator=torch.Generator().manual_seed(1))
    gradients: list[dict[str, Tensor]] = []
    for model_class in (MatMulFreeLM, UnfusedLM):
        torch.manual_seed(0)
        model = model_class(config)
        F.cross_entropy(model(ids)[0][:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        gradients.append(
            {name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None}
        )
    fused, plain = gradients
    assert fused.keys() == plain.keys()
    for name in fused:
        assert F.cosine_similarity(fused[name], plain[name], dim=0) > 0.95, name


def test_saved_bytes_are_counted_once_and_without_parameters() -> None:
    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, ids: Tensor, mode: str) -> tuple[Tensor, None]:
            x = torch.full((2, 3, 4), 0.5) * self.weight
            return x * x, None

    contestant = Weighed(
        Squares(),
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(2, 3, dtype=torch.int64),
        bf16=False,
        compiled=False,
    )
    # 24 floats each: the constant, x (twice in x * x, kept once) and the logarithm of the softmax;
    # targets; the loss's total weight.
    assert contestant.saved_bytes() == 3 * 24 * 4 + 6 * 8 + 4


def test_the_tool_compares_three_models(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TINY, "--steps", "1", "--unfused", "--precision", "bf16"])
    result = json.loads(capsys.readouterr().out)
    names = {"matmul-free", "transformer", "unfused"}
    assert result["tokens_per_second"].keys() == result["saved_bytes"].keys() == names
    assert result["ratio"].keys() == names - {"matmul-free"}
    assert result["config"]["vocab_size"] == 11
    assert result["parameters"]["matmul-free"] == result["parameters"]["unfused"]
    assert result["saved_bytes"]["unfused"] > result["saved_bytes"]["matmul-free"]


def test_without_steps_it_measures_memory_alone(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TINY, "--steps", "0"])
    result = json.loads(capsys.readouterr().out)
    assert result["saved_bytes"].keys() == {"matmul-free", "transformer"}
    assert "tokens_per_second" not in result


def test_the_370m_shape_has_the_ternary_weights_of_the_published_model() -> None:
    shape = SHAPES["370m"]
    config = ModelConfig(
        vocab_size=shape["vocab"],
        head_size=shape["vocab"],
        hidden_size=shape["hidden"],
        intermediate_size=shape["intermediate"],
        num_layers=shape["layers"],
    )
    assert config.num_ternary_weights == 341_049_344


def test_a_negative_number_of_steps_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*TINY, "--steps", "-1"])
    assert "--steps must be 0 or more" in capsys.readouterr().err
