"""A segment's projection: values against Python integers, gradients against autograd."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfree.contract.pow2 import GATES
from mmfree.errors import InputError
from mmfree.models.bitlinear import BitLinear, project
from mmfree.models.quantize import quantize_ternary


def _reference_row(
    u: list[int], trits: list[list[int]], m_w: int, a: int, w: int, fb: int
) -> list[int]:
    """Sections 5 to 7 in Python integers, for one vector and one matrix."""
    ored = 0
    for v in u:
        ored |= v ^ (v >> 15)
    q = [min(127, ((v << (15 - ored.bit_length())) + 128) >> 8) for v in u]
    s = sum(v * v for v in q) or 4096
    k = max(6, (s.bit_length() - 1) >> 1)
    r = math.floor(256 * math.sqrt(64 / ((s >> (2 * k - 6)) + 0.5)) + 0.5)
    m, shift = (r * m_w + 64) >> 7, 9 - a - fb + k
    limit = 1 << (w - 1)
    sums = [sum(t * v for t, v in zip(row, q, strict=True)) for row in trits]
    return [max(-limit, min(limit - 1, (acc * m + (1 << (shift - 1))) >> shift)) for acc in sums]


def _expected(u_Nn: Tensor, matrix: BitLinear) -> Tensor:
    trits, multiplier, exponent = quantize_ternary(matrix.weight)
    width, fb = matrix.role.width_bits, matrix.fraction_bits
    rows = [
        _reference_row(u, trits.int().tolist(), int(multiplier), int(exponent), width, fb)
        for u in u_Nn.tolist()
    ]
    return torch.tensor(rows) * 2.0**-fb


def _vectors(num: int, fan_in: int, seed: int) -> Tensor:
    """Random int16 vectors of widely different sizes; the first is zero, the second extreme."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 2 ** torch.randint(0, 16, (num, 1), generator=generator)
    u_Nn = (torch.rand(num, fan_in, generator=generator) * 2 - 1).mul(sizes).round().int()
    u_Nn[0] = 0
    u_Nn[1] = -32768
    return u_Nn.clamp(-32768, 32767)


@pytest.mark.parametrize("fan_in", [1, 3, 63, 300])
@pytest.mark.parametrize("gate", GATES)
def test_projection_equals_integer_arithmetic(fan_in: int, gate: str) -> None:
    torch.manual_seed(fan_in)
    matrices = [BitLinear(role, fan_in, 5, gate) for role in ("i", "f", "o")]
    u_Nn = _vectors(21, fan_in, seed=7)
    outputs = project(u_Nn.view(7, 3, fan_in) / 512, matrices, "train")
    for matrix, y_TBr in zip(matrices, outputs, strict=True):
        assert torch.equal(y_TBr.flatten(0, 1), _expected(u_Nn, matrix))


@pytest.mark.parametrize("fan_in", [16384, 16385, 65535])
def test_projection_is_exact_where_products_need_most_bits(fan_in: int) -> None:
    matrix = BitLinear("head", fan_in, 3, "hard")
    with torch.no_grad():
        matrix.weight.copy_(torch.tensor([[1.0], [-1.0], [1.0]]).expand(3, fan_in))
        # Scale just below a power of two: the largest multiplier, and outputs that do not saturate.
        matrix.weight.mul_(2.0 ** -math.ceil(math.log2(math.sqrt(fan_in))) * 0.999)
        matrix.weight[2, ::2] = 0
    u_Nn = torch.full((3, fan_in), -32768)
    u_Nn[1] = 32767
    u_Nn[2, 1::2] = 123
    (y_Nr,) = project(u_Nn / 512, [matrix], "fakequant")
    assert torch.equal(y_Nr, _expected(u_Nn, matrix))


def test_sums_of_squares_beyond_float32_are_exact() -> None:
    """S = 65 * 2^18 - 1 is odd and above 2^24: in float32 it would be the next table entry's."""
    q = [127] * 1056 + [83, 14, 7, 1]
    assert sum(v * v for v in q) == 65 * 2**18 - 1
    u_Nn = torch.tensor([q, [-v for v in q]]) * 256
    u_Nn[1] = u_Nn[1].flip(0)
    matrix = BitLinear("o", len(q), 2, "hard")
    (y_Nr,) = project(u_Nn / 512, [matrix], "fakequant")
    assert torch.equal(y_Nr, _expected(u_Nn, matrix))


@pytest.mark.parametrize("exponent", [-20, -9, -8, 3, 10, 11, 20])
def test_scales_at_and_beyond_the_range_of_a_tape(exponent: int) -> None:
    """A tape's exponents end where 9 - a - fb is -5 and 13: for i at -8 and 10. Weights beyond them
    train on as if they were there.
    """
    matrix = BitLinear("i", 4096, 3, "hard")
    signs = torch.tensor([[1, 1], [-1, -1], [1, -1]]).tile(2048)
    with torch.no_grad():
        matrix.weight.copy_(signs * 2.0 ** (exponent - 7))
    _, multiplier, found = quantize_ternary(matrix.weight)
    assert (int(multiplier), int(found)) == (128, exponent)
    u_Nn = torch.tensor([[5, 5], [100, -99], [30000, -30000], [-7, 8]]).tile(2048)
    u_Nn[1, 6:] = 0
    (y_Nr,) = project(u_Nn / 512, [matrix], "train")
    rows = [
        _reference_row(u, signs.tolist(), 128, max(-8, min(10, exponent)), 8, 4)
        for u in u_Nn.tolist()
    ]
    assert y_Nr.mul(16).int().tolist() == rows
    assert rows[0][:2] == ([2, -2] if exponent <= -8 else [127, -128])


def test_under_autocast_products_of_the_backward_pass_are_in_bfloat16() -> None:
    """The forward pass is the same; gradients are float32, and differ by bfloat16's 8 bits."""
    torch.manual_seed(6)
    matrices = [BitLinear(role, 63, 17, "hard") for role in ("gate", "up")]
    u = (torch.randn(5, 3, 63) * 400).round().div(512).requires_grad_()
    grads = [torch.randn(5, 3, 17) for _ in matrices]
    weights = [m.weight for m in matrices]
    found = []
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs = project(u, matrices, "train")
        found.append((outputs, torch.autograd.grad(outputs, [u, *weights], grads)))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        assert torch.equal(a, b)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        assert torch.linalg.vector_norm(a - b) <= 0.01 * torch.linalg.vector_norm(a)


def test_outputs_saturate_at_both_ends() -> None:
    matrix = BitLinear("up", 63, 2, "hard")
    with torch.no_grad():
        matrix.weight.copy_(torch.tensor([[2.0], [-2.0]]).expand(2, 63))
    (y_Nr,) = project(torch.full((1, 63), 1.0), [matrix], "train")
    assert (y_Nr * 16).tolist() == [[127, -128]]


def test_gradients_are_those_of_rms_norm_and_matmul_on_quantized_values() -> None:
    torch.manual_seed(1)
    matrices = [BitLinear(role, 63, 17, "hard") for role in ("gate", "up")]
    u = (torch.randn(5, 3, 63) * 400).round().div(512).requires_grad_()
    grads = [torch.randn(5, 3, 17) for _ in matrices]
    weights = [m.weight for m in matrices]
    got = torch.autograd.grad(project(u, matrices, "train"), [u, *weights], grads)

    effective = []
    for weight in weights:
        trits, multiplier, exponent = quantize_ternary(weight)
        effective.append(
            (trits * multiplier * 2.0 ** (exponent - 8) / math.sqrt(63)).requires_grad_()
        )
    outputs = [F.linear(F.rms_norm(u, (63,)), w) for w in effective]
    expected = torch.autograd.grad(outputs, [u, *effective], grads)
    for a, b in zip(got, expected, strict=True):
        # int8 activations and the table of reciprocal roots: about one per cent.
        assert torch.linalg.vector_norm(a - b) <= 0.015 * torch.linalg.vector_norm(b)


def test_gradient_to_the_input_is_orthogonal_to_it() -> None:
    torch.manual_seed(2)
    matrix = BitLinear("o", 63, 17, "hard")
    u = (torch.randn(4, 63) * 400).round().div(512).requires_grad_()
    (y,) = project(u, [matrix], "train")
    (grad,) = torch.autograd.grad(y, u, torch.randn_like(y))
    cosine = F.cosine_similarity(grad, u, dim=-1)
    assert cosine.abs().max() < 0.02


def test_saturated_outputs_pass_no_gradient() -> None:
    torch.manual_seed(3)
    matrix = BitLinear("gate", 63, 3, "hard")
    with torch.no_grad():
        matrix.weight[0] = 2.0
        matrix.weight[1] = -2.0
    u = torch.full((2, 63), 1.5).requires_grad_()
    (y,) = project(u, [matrix], "train")
    y[:, :2].sum().backward()
    assert matrix.weight.grad is not None
    assert u.grad is not None
    assert not matrix.weight.grad.any()
    assert not u.grad.any()


def test_matrices_of_a_segment_do_not_influence_one_another() -> None:
    torch.manual_seed(4)
    matrices = [BitLinear(role, 7, 3, "hard") for role in ("i", "f", "g")]
    u = (torch.randn(3, 2, 7) * 300).round() / 512
    together = project(u, matrices, "train")
    for matrix, y in zip(matrices, together, strict=True):
        assert torch.equal(project(u, [matrix], "train")[0], y)


def test_float_mode_is_rms_norm_and_matmul_with_the_ternary_weights() -> None:
    torch.manual_seed(5)
    matrix = BitLinear("o", 7, 3, "hard")
    trits, multiplier, exponent = quantize_ternary(matrix.weight)
    weight = trits * (float(multiplier) / 256 * 2.0 ** float(exponent) / math.sqrt(7))
    u = torch.randn(3, 2, 7)
    expected = (u / u.square().mean(-1, keepdim=True).sqrt()) @ weight.T
    torch.testing.assert_close(project(u, [matrix], "float")[0], expected)
    # Of a vector as small as a step the norm takes the size, too; of none it makes nothing.
    torch.testing.assert_close(project(u * 2.0**-11, [matrix], "float")[0], expected)
    assert not project(torch.zeros(1, 1, 7), [matrix], "float")[0].any()


def test_a_matrix_begins_with_weights_of_unit_scale() -> None:
    torch.manual_seed(7)
    matrix = BitLinear("f", 1024, 256, "hard", bias=True)
    assert matrix.weight.shape == (256, 1024)
    assert matrix.weight.std().item() * 32 == pytest.approx(1, abs=0.01)
    assert abs(matrix.weight.mean().item()) * 32 < 0.01
    assert matrix.bias is not None
    assert matrix.bias.tolist() == [0.0] * 256
    assert (matrix.fraction_bits, BitLinear("f", 2, 3, "sigmoid").fraction_bits) == (6, 4)
    assert BitLinear("i", 2, 3, "hard").bias is None


def test_weights_out_of_range_give_finite_outputs_and_gradients() -> None:
    matrix = BitLinear("o", 7, 3, "hard")
    u = torch.ones(1, 1, 7, requires_grad=True)
    for scale in (1e-8, 1e5):
        with torch.no_grad():
            matrix.weight.fill_(scale)
        (y,) = project(u, [matrix], "train")
        y.sum().backward()
        assert y.isfinite().all()
        assert u.grad is not None
        assert u.grad.isfinite().all()


def test_fan_in_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"matrix o: fan-in must be in 1\.\.65535, got 65536"):
        BitLinear("o", 65536, 1, "hard")


def test_held_outputs_have_a_gradient_towards_their_limits() -> None:
    """The pull, whatever is asked of them; what is within has the gradient that it is given."""
    matrix = BitLinear("up", 63, 3, "hard")
    with torch.no_grad():
        matrix.weight.copy_(torch.tensor([[2.0], [-2.0], [0.01]]).expand(3, 63))
        matrix.weight[2, 1:] = 0
    matrix.pull = 0.25
    u = torch.full((1, 63), 1.0, requires_grad=True)
    (y_Nr,) = project(u, [matrix], "train")
    asked = torch.tensor([[-8.0, 5.0, 3.0]])
    (held,) = torch.autograd.grad(y_Nr, matrix.weight, asked, retain_graph=True)
    matrix.pull = 0.0
    (y_Nr,) = project(u, [matrix], "train")
    (free,) = torch.autograd.grad(y_Nr, matrix.weight, torch.tensor([[0.0, 0.0, 3.0]]))
    assert (free[2] != 0).all()
    assert torch.equal(held[2], free[2])
    # Down where it is above, up where it is below.
    step = held[2, 0] / 3
    assert torch.allclose(held[0], 0.25 * step.expand(63))
    assert torch.allclose(held[1], -0.25 * step.expand(63))
