"""Quantizers of matrices, embedding and biases against hand-worked values and exact rational
arithmetic.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfree.models.quantize import (
    _rounded_down,
    fake_quantize_bias,
    fake_quantize_embedding,
    power_of_two,
    quantize_bias,
    quantize_embedding,
    quantize_ternary,
    round_half_up,
    saturate,
    saved_mask,
    straight_through,
)


def test_power_of_two_is_exact_over_its_range() -> None:
    exponents = torch.arange(-126, 128, dtype=torch.int32)
    assert power_of_two(exponents).tolist() == [2.0**n for n in range(-126, 128)]


def test_ternary_matrix_worked_by_hand() -> None:
    # s = 2.75 / 4 = 0.6875, s/2 = 0.34375; s * sqrt(4) = 1.375 = 0.6875 * 2^1; 256 * 0.6875 = 176.
    trits, multiplier, exponent = quantize_ternary(torch.tensor([[1.0, -1.0, 0.25, -0.5]]))
    assert trits.tolist() == [[1, -1, 0, -1]]
    assert (int(multiplier), int(exponent)) == (176, 1)


def test_weight_at_half_the_mean_becomes_zero() -> None:
    trits, _, _ = quantize_ternary(torch.tensor([[1.0, -3.0]]))
    assert trits.tolist() == [[0, -1]]


def test_absmean_rounds_to_the_nearest_step() -> None:
    """0.75 * 2^-32 counts as 2^-32, and not as nothing."""
    trits, multiplier, exponent = quantize_ternary(torch.tensor([[0.75 * 2.0**-32]]))
    assert trits.tolist() == [[1.0]]
    assert (int(multiplier), int(exponent)) == (128, -31)


def test_zero_matrix_has_zero_trits_and_unit_constants() -> None:
    trits, multiplier, exponent = quantize_ternary(torch.zeros(3, 5))
    assert not trits.any()
    assert (int(multiplier), int(exponent)) == (128, 0)


@pytest.mark.parametrize(
    ("value", "constants"), [(0.5, (128, 0)), (0.9999, (256, 0)), (1.0, (128, 1))]
)
def test_multiplier_reaches_both_ends(value: float, constants: tuple[int, int]) -> None:
    _, multiplier, exponent = quantize_ternary(torch.tensor([[value]]))
    assert (int(multiplier), int(exponent)) == constants


def _reference(rows: list[list[float]]) -> tuple[list[list[int]], int, int]:
    """Section 3 in rationals, up to the two float64 roundings that it names."""
    flat = [Fraction(w) for row in rows for w in row]
    s = float(Fraction(sum(round(abs(w) * 2**32) for w in flat), 2**32 * len(flat)))
    trits = [[(w > s / 2) - (w < -s / 2) for w in row] for row in rows]
    if s == 0:
        return trits, 128, 0
    mantissa, exponent = math.frexp(s * math.sqrt(len(rows[0])))
    return trits, math.floor(256 * mantissa + 0.5), exponent


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(-4, 4, width=32), min_size=n, max_size=n), min_size=1, max_size=5
        )
    )
)
def test_ternary_equals_rational_arithmetic(rows: list[list[float]]) -> None:
    trits, multiplier, exponent = quantize_ternary(torch.tensor(rows))
    assert (trits.tolist(), int(multiplier), int(exponent)) == _reference(rows)


def test_constants_do_not_depend_on_the_order_of_the_weights() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(63, 65, generator=generator) * 10 ** torch.randn(
        63, 65, generator=generator
    )
    order = torch.randperm(63, generator=generator)
    trits, *constants = quantize_ternary(weight)
    permuted, *permuted_constants = quantize_ternary(weight[order].flip(1))
    assert torch.equal(permuted, trits[order].flip(1))
    assert permuted_constants == constants


def test_stacked_matrices_equal_one_at_a_time() -> None:
    weights = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [0.1, 1.0, 30.0]
    ).view(3, 1, 1)
    stacked = quantize_ternary(weights)
    for m in range(3):
        assert all(
            torch.equal(a[m], b) for a, b in zip(stacked, quantize_ternary(weights[m]), strict=True)
        )


@pytest.mark.parametrize(
    ("largest", "shift", "row"),
    [
        (0.0, 0, 0),
        (0.2490, 0, 127),  # 127.488 rounds to 127: nine fraction bits
        (0.2491, 1, 64),  # 127.54 would round to 128
        (63.5, 8, 127),
        (100.0, 8, 127),  # one fraction bit is the least: saturates
        (-100.0, 8, -128),
    ],
)
def test_embedding_takes_the_most_fraction_bits_that_fit(
    largest: float, shift: int, row: int
) -> None:
    rows, got = quantize_embedding(torch.tensor([[0.0, largest, largest / 1e6]]))
    assert (int(got), rows.tolist()) == (shift, [[0, row, 0]])


def test_embedding_rounds_halves_to_even() -> None:
    rows, _ = quantize_embedding(torch.tensor([[0.5, 1.5, -2.5, 100.0]]) / 512)
    assert rows.tolist() == [[0, 2, -2, 100]]


def test_fake_quantized_embedding_passes_gradient_only_where_not_saturated() -> None:
    latent = torch.tensor([[10.26, -100.0], [63.7, 64.0]], requires_grad=True)
    value = fake_quantize_embedding(latent)
    assert value.tolist() == [[10.5, -64.0], [63.5, 63.5]]
    value.sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == [[1, 0], [1, 0]]


def test_fake_quantized_embedding_passes_gradient_at_half_a_step() -> None:
    """Where an entry lies just between two integers, also the two that are largest."""
    latent = (torch.tensor([[0.5, -1.5, 127.5, -128.5, 127.51, -128.51]]) / 2).requires_grad_()
    value = fake_quantize_embedding(latent)
    assert (value * 2).tolist() == [[0, -2, 127, -128, 127, -128]]
    value.sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == [[1, 1, 1, 1, 0, 0]]


def test_bias_rounds_to_its_format_and_saturates() -> None:
    bias = torch.tensor([0.5 / 64, 1.5 / 64, -1.0, 1e4, -1e4])
    assert quantize_bias(bias, 6).tolist() == [0, 2, -64, 32767, -32768]


def test_fake_quantized_bias_is_straight_through() -> None:
    bias = torch.tensor([0.3, -0.7], requires_grad=True)
    value = fake_quantize_bias(bias, 4)
    assert (value * 16).tolist() == [5, -11]
    value.sum().backward()
    assert bias.grad is not None
    assert bias.grad.tolist() == [1, 1]


def test_round_half_up_rounds_halves_towards_plus_infinity() -> None:
    x = torch.tensor([0.5, 1.5, -0.5, -1.5, 0.49], requires_grad=True)
    rounded = round_half_up(x / 8, 3)
    assert (rounded * 8).tolist() == [1, 2, 0, -1, 0]
    rounded.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.125] * 5


def test_straight_through_gradient_passes_where_it_may() -> None:
    latent = torch.ones(3, requires_grad=True)
    masked = straight_through(latent, torch.zeros(3), torch.tensor([True, False, True]))
    masked.backward(torch.tensor([2.0, 3.0, 4.0]))
    assert latent.grad is not None
    assert latent.grad.tolist() == [2, 0, 4]


@pytest.mark.parametrize("compiling", [False, True])
def test_what_saturates_passes_no_gradient(
    compiling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the ends, too; both as it runs and as the compiler traces it."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    x = torch.tensor([-2.0, -1.5, -1.0, 0.0, 2.5, 3.0, 9.0], requires_grad=True)
    y = saturate(x, -1.5, 3.0)
    assert y.tolist() == [-1.5, -1.5, -1.0, 0.0, 2.5, 3.0, 3.0]
    y.backward(torch.full_like(x, 5.0))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 5, 5, 5, 0, 0]
    assert saved_mask(x > 0).dtype == (torch.int8 if compiling else torch.bool)
    assert saved_mask(x > 0).tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_straight_through_value_is_exact() -> None:
    # latent + (quantized - latent) would lose the small value beside the large one.
    latent = torch.tensor([1e8], requires_grad=True)
    assert straight_through(latent, torch.tensor([2.0**-11])).item() == 2.0**-11


def test_a_weight_at_the_threshold_is_zero_and_just_above_it_is_not() -> None:
    """Half the absmean lies between two float32; weights on both sides of it are told apart."""
    for absmean in (0.1, 0.7, 1 / 3, 1.0):
        half = absmean / 2
        nearest = np.float32(half)
        below = nearest if float(nearest) <= half else np.nextafter(nearest, np.float32(0))
        above = np.nextafter(below, np.float32(1))
        rounded = _rounded_down(torch.tensor(half, dtype=torch.float64))
        assert rounded.dtype == torch.float32
        assert rounded.item() == float(below)
        assert bool(torch.tensor(above) > rounded) == (float(above) > half)
        assert bool(torch.tensor(below) > rounded) == (float(below) > half)
