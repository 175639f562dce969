"""The shift-and-add product: exhaustive at small widths, corners and random values at others."""

from __future__ import annotations

import itertools
import random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Shape, signed, unsigned

from hdl.arithmetic.product import Product
from hdl.toolchain.audit import forbidden_cells
from tests.support.hdl.bench import play

IN_USE = [
    (signed(17), unsigned(9), 28),  # requantize
    (unsigned(9), unsigned(8), 7),  # scale
    (signed(17), unsigned(9), 8),  # state
    (signed(16), signed(9), 6),  # gated product
]


def extent(shape: Shape) -> range:
    low = -(1 << (shape.width - 1)) if shape.signed else 0
    return range(low, low + (1 << shape.width))


def check(
    a_shape: Shape, b_shape: Shape, addend_bits: int, triples: list[tuple[int, int, int]]
) -> None:
    product = Product(a_shape, b_shape, addend_bits)
    names = ("a", "b", "addend")[: 3 if addend_bits else 2]
    items = [dict(zip(names, triple, strict=False)) for triple in triples]
    results = play(product, items, product.latency, ["o"])
    for (a, b, addend), result in zip(triples, results, strict=True):
        assert result["o"] == a * b + (addend if addend_bits else 0), (a, b, addend)


@pytest.mark.parametrize(("a_signed", "b_signed"), list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize(("a_bits", "b_bits"), [(3, 3), (4, 2), (3, 5), (1, 4), (2, 7)])
@pytest.mark.parametrize("addend_bits", [0, 2, 6])
def test_small_products_are_exact(
    a_bits: int, b_bits: int, addend_bits: int, a_signed: bool, b_signed: bool
) -> None:
    a_shape, b_shape = Shape(a_bits, a_signed), Shape(b_bits, b_signed)
    rng = random.Random(a_bits)
    pairs = itertools.product(extent(a_shape), extent(b_shape))
    check(a_shape, b_shape, addend_bits, [(a, b, rng.getrandbits(addend_bits)) for a, b in pairs])


@pytest.mark.parametrize("addend_bits", [0, 2])
def test_a_factor_of_one_bit_is_a_choice(addend_bits: int) -> None:
    triples = [(a, b, addend) for a in range(-4, 4) for b in (0, 1) for addend in range(4)]
    check(signed(3), unsigned(1), addend_bits, triples)


@pytest.mark.parametrize(("a_shape", "b_shape", "addend_bits"), IN_USE)
def test_products_in_use_are_exact_at_corners_and_random_values(
    a_shape: Shape, b_shape: Shape, addend_bits: int
) -> None:
    rng = random.Random(5)
    corners = []
    for shape in (a_shape, b_shape):
        values = extent(shape)
        corners.append([v for v in (values[0], values[0] + 1, -1, 0, 1, values[-1]) if v in values])
    addends = [0, (1 << addend_bits) - 1] if addend_bits else [0]
    triples = list(itertools.product(*corners, addends))
    triples += [
        (rng.choice(extent(a_shape)), rng.choice(extent(b_shape)), rng.getrandbits(addend_bits))
        for _ in range(1500)
    ]
    check(a_shape, b_shape, addend_bits, triples)


@pytest.mark.parametrize(("a_shape", "b_shape", "addend_bits"), IN_USE)
def test_it_is_made_of_additions(a_shape: Shape, b_shape: Shape, addend_bits: int) -> None:
    text = rtlil.convert(Product(a_shape, b_shape, addend_bits), name="product", emit_src=False)
    assert not forbidden_cells(text)
    assert "cell $add" in text
