"""Export: the tape holds what the model's own quantizers give, and what cannot be stored is refused
by name.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mmfree.contract.pow2 import GATES, sigmoid_table, silu_table
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.quantize import quantize_bias, quantize_embedding, quantize_ternary
from mmfree.tape.pow2 import decode_tape
from mmfree.training.export import export_tape

TOKENIZER = {"kind": "none"}


def _model(gate: str = "hard") -> MatMulFreeLM:
    torch.manual_seed(1)
    config = ModelConfig(
        vocab_size=5, head_size=3, hidden_size=7, intermediate_size=9, num_layers=2, gate=gate
    )
    model = MatMulFreeLM(config)
    with torch.no_grad():
        for layer in range(2):
            model.get_parameter(f"layers.{layer}.mixer.f.bias").normal_()
    return model


@pytest.mark.parametrize("gate", GATES)
def test_tape_holds_every_quantized_parameter(gate: str) -> None:
    model = _model(gate)
    tape = export_tape(model, TOKENIZER)
    submodules = dict.fromkeys("ifgo", "mixer") | dict.fromkeys(("gate", "up", "down"), "glu")
    num_matrices = 0
    for segment in tape.segments:
        for matrix in segment.matrices:
            num_matrices += 1
            name = matrix.role
            if segment.layer is not None:
                name = f"layers.{segment.layer}.{submodules[name]}.{name}"
            trits, multiplier, exponent = quantize_ternary(model.get_parameter(f"{name}.weight"))
            np.testing.assert_array_equal(matrix.trits, trits.numpy())
            assert (matrix.multiplier, matrix.exponent) == (int(multiplier), int(exponent))
            if matrix.role == "f":
                assert matrix.bias is not None
                bias = quantize_bias(
                    model.get_parameter(f"{name}.bias"), 4 if gate == "sigmoid" else 6
                )
                np.testing.assert_array_equal(matrix.bias, bias.numpy())
    assert num_matrices == 2 * 7 + 1
    rows, shift = quantize_embedding(model.embedding.weight)
    np.testing.assert_array_equal(tape.embedding, rows.numpy())
    assert tape.embedding_shift == int(shift)
    np.testing.assert_array_equal(tape.sigmoid, sigmoid_table())
    np.testing.assert_array_equal(tape.silu, silu_table())
    assert (tape.config, tape.tokenizer) == (model.config, TOKENIZER)


@pytest.mark.parametrize("gate", GATES)
def test_every_scale_and_row_is_that_of_its_own_matrix(gate: str) -> None:
    """Worked apart from the quantizers: each matrix has a scale, and signs, of its own."""
    model = _model(gate)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters()):
            if parameter.ndim == 2 and name != "embedding.weight":
                signs = torch.arange(parameter.numel()).view_as(parameter) % (number + 2)
                parameter.copy_((signs - 1).clamp(-1, 1) * 2.0 ** -(number % 4))
    tape = export_tape(model, TOKENIZER)
    assert [(segment.kind, segment.layer) for segment in tape.segments] == [
        *((kind, layer) for layer in (0, 1) for kind in ("gates", "output", "glu", "down")),
        ("head", None),
    ]
    rooms = dict.fromkeys("ifgo", "mixer") | dict.fromkeys(("gate", "up", "down"), "glu")
    for segment in tape.segments:
        for matrix in segment.matrices:
            place = "" if segment.layer is None else f"layers.{segment.layer}.{rooms[matrix.role]}."
            weight = model.get_parameter(f"{place}{matrix.role}.weight").detach()
            np.testing.assert_array_equal(matrix.trits, weight.sign().numpy())
            scale = weight.abs().double().mean().item() * weight.shape[1] ** 0.5
            stored = matrix.multiplier * 2.0 ** (matrix.exponent - 8)
            assert (matrix.role, stored) == (matrix.role, pytest.approx(scale, rel=2**-8))


def test_exported_tape_survives_writing_and_reading() -> None:
    tape = export_tape(_model(), TOKENIZER)
    assert decode_tape(tape.data).data == tape.data


def test_export_is_repeatable_and_leaves_the_model_alone() -> None:
    model = _model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    first = export_tape(model, TOKENIZER)
    assert export_tape(model, TOKENIZER).sha256 == first.sha256
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(
    "name", ["embedding.weight", "layers.1.mixer.f.bias", "layers.0.glu.up.weight", "head.weight"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(name: str, value: float) -> None:
    model = _model()
    with torch.no_grad():
        model.get_parameter(name).view(-1)[2] = value
    with pytest.raises(
        ValueError, match=f"{name}: every value must be finite, got 1 NaN or infinite"
    ):
        export_tape(model, TOKENIZER)


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e4, 1e30])
def test_scales_that_a_tape_cannot_hold_are_refused(scale: float) -> None:
    model = _model()
    with torch.no_grad():
        model.get_parameter("layers.1.glu.down.weight").fill_(scale)
    name = r"layers\.1\.glu\.down\.weight"
    match = rf"{name}: mean absolute weight .* must be 0 or in \[0\.0000610352, 32\)"
    with pytest.raises(InputError, match=match) as caught:
        export_tape(model, TOKENIZER)
    reason = "training diverged (weights too large)" if scale > 1 else "weights too small"
    said = str(caught.value)
    assert f": {reason}, so the model cannot be exported; train again with a lower" in said
    assert re.search(r"got [0-9,.]+: ", said), "no exponents"


@pytest.mark.parametrize(("scale", "exponent"), [(2.0**-14, -13), (31.99, 5), (0.0, 0)])
def test_scales_at_the_ends_of_the_range_are_exported(scale: float, exponent: int) -> None:
    model = _model()
    with torch.no_grad():
        model.get_parameter("layers.0.mixer.o.weight").fill_(scale / 7**0.5 * (1 + 1e-4))
    assert export_tape(model, TOKENIZER).segments[1].matrices[0].exponent == exponent
