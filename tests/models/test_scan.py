"""The fast scan against the naive recurrence, forward and gradients, at odd sizes and at both ends
of the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import pytest
import torch
from torch import Tensor

from mmfree.models.scan import fast_scan, naive_scan, rounded_scan

SIZES = [(1, 1, 1), (3, 1, 3), (1, 3, 63), (63, 3, 1), (63, 2, 65)]


def scan_inputs(
    shape: tuple[int, int, int], dtype: torch.dtype = torch.float64, signed: bool = False
) -> tuple[Tensor, ...]:
    """f, c, h0; a third of f is exactly 0, a third 1, and if ``signed`` half of f negative."""
    generator = torch.Generator().manual_seed(sum(shape))
    f = torch.rand(shape, generator=generator, dtype=dtype)
    kind = torch.randint(0, 3, shape, generator=generator)
    f = torch.where(kind == 0, 0.0, torch.where(kind == 1, 1.0, f)).to(dtype)
    if signed:
        f = f * (2 * torch.randint(0, 2, shape, generator=generator) - 1)
    c = torch.randn(shape, generator=generator, dtype=dtype)
    h0 = torch.randn(shape[1:], generator=generator, dtype=dtype)
    return tuple(x.requires_grad_() for x in (f, c, h0))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", SIZES)
def test_fast_scan_equals_naive_scan_with_its_gradients(
    shape: tuple[int, int, int], signed: bool
) -> None:
    inputs = scan_inputs(shape, signed=signed)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    naive, fast = naive_scan(*inputs, signed=signed), fast_scan(*inputs, signed=signed)
    torch.testing.assert_close(fast, naive, rtol=0, atol=1e-14)
    expected = torch.autograd.grad((naive * weights).sum(), inputs)
    got = torch.autograd.grad((fast * weights).sum(), inputs)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_fast_scan_passes_gradcheck() -> None:
    f, c, h0 = scan_inputs((5, 2, 3))
    f = torch.rand_like(f).requires_grad_()
    assert torch.autograd.gradcheck(fast_scan, (f, c, h0))
    f = (torch.rand_like(f) * torch.randn_like(f).sign()).detach().requires_grad_()
    assert torch.autograd.gradcheck(fast_scan, (f, c, h0, True))


def test_fast_scan_accepts_a_gradient_that_is_not_contiguous() -> None:
    inputs = scan_inputs((7, 2, 3))
    # The gradient of an expanded sum has stride zero; writing into it would corrupt it.
    got = torch.autograd.grad(fast_scan(*inputs).sum(), inputs)
    expected = torch.autograd.grad(naive_scan(*inputs).sum(), inputs)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("scan", [naive_scan, fast_scan, rounded_scan])
def test_gate_of_one_holds_and_gate_of_zero_loads_exactly(scan: type) -> None:
    c = torch.randint(-570, 16251, (63, 1, 5), generator=torch.Generator().manual_seed(3)) / 2048
    h0 = torch.full((1, 5), 0.3125)
    assert torch.equal(scan(torch.ones_like(c), c, h0), h0.expand_as(c))
    assert torch.equal(scan(torch.zeros_like(c), c, h0), c)


@pytest.mark.parametrize(
    "scan",
    [partial(naive_scan, signed=True), partial(fast_scan, signed=True), rounded_scan],
)
def test_gate_of_minus_one_turns_the_sign_exactly(scan: Callable[..., Tensor]) -> None:
    c = torch.randint(-570, 16251, (63, 1, 5), generator=torch.Generator().manual_seed(3)) / 2048
    h0 = torch.full((1, 5), 0.3125)
    signs = torch.tensor([-1.0, 1.0]).repeat(32)[:63, None, None]
    assert torch.equal(scan(-torch.ones_like(c), c, h0), h0.expand_as(c) * signs)


def test_scan_continues_from_a_carried_state() -> None:
    f, c, h0 = scan_inputs((9, 2, 3))
    whole = fast_scan(f, c, h0)
    first = fast_scan(f[:4], c[:4], h0)
    assert torch.equal(torch.cat([first, fast_scan(f[4:], c[4:], first[-1])]), whole)


def test_rounded_scan_rounds_halves_up_at_every_step() -> None:
    generator = torch.Generator().manual_seed(5)
    f = torch.randint(-256, 257, (63, 1, 8), generator=generator)
    c = torch.randint(-32767, 32768, (63, 1, 8), generator=generator)
    h = torch.randint(-32767, 32768, (1, 8), generator=generator)
    got = rounded_scan(f / 256, c / 2048, h / 2048) * 2048
    for t in range(63):
        # Section 10 in Python integers.
        h = torch.where(f[t] < 0, -h, h)
        h = h + ((256 - f[t].abs()) * (c[t] - h) + 128 >> 8)
        assert got[t].tolist() == h.tolist()


def test_rounded_scan_differs_from_the_specification_by_rounding_only() -> None:
    generator = torch.Generator().manual_seed(6)
    f = torch.randint(0, 250, (63, 3, 5), generator=generator) / 256
    c = torch.randint(-570, 16251, (63, 3, 5), generator=generator) / 2048
    h0 = torch.zeros(3, 5)
    # Errors of half a step add up to at most 1 / (1 - max f) of one.
    bound = float(Fraction(1, 2 * 2048) / (1 - Fraction(249, 256)))
    assert (rounded_scan(f, c, h0) - naive_scan(f, c, h0)).abs().max() <= bound + 1e-5


def test_rounded_scan_is_straight_through() -> None:
    f = torch.full((3, 1, 1), 0.5, requires_grad=True)
    c = torch.ones(3, 1, 1, requires_grad=True)
    rounded_scan(f, c, torch.zeros(1, 1))[-1].sum().backward()
    assert c.grad is not None
    assert c.grad.flatten().tolist() == [0.125, 0.25, 0.5]
