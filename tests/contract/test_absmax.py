"""The arithmetic of published checkpoints: its table, and what its numbers are."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np

from mmfree.contract import absmax
from mmfree.contract.absmax import DEFAULT_ABSMAX_FORMATS, ROLES_BY_KIND, sigmoid_table
from tests.support.integers.exactly import rounded, sigmoid


def test_the_table_is_the_sigmoid_to_the_last_bit() -> None:
    """Every entry, in 40 decimal digits."""
    with localcontext(prec=40):
        expected = [rounded(sigmoid(Decimal(j) / 256) * 2**24) for j in range(4097)]
    values, rises = sigmoid_table()
    assert (values.dtype, rises.dtype) == (np.int32, np.uint16)
    assert values.tolist() == expected[:-1]
    assert (values + rises).tolist() == expected[1:]
    assert rises.max() < 1 << absmax.SIGMOID_RISE_BITS


def test_constants_are_those_of_the_text() -> None:
    """docs/arithmetic_absmax.md, 1, 2 and 9."""
    formats = DEFAULT_ABSMAX_FORMATS
    found = (formats.residual_fb, formats.activation_fb, formats.forget_fb, formats.logit_fb)
    assert found == (18, 20, 20, 16)
    assert (absmax.PROJECTION_EPS, absmax.SMALLEST_ABSMEAN) == (1e-6, 1e-5)
    assert (absmax.INT32_MIN, absmax.INT32_MAX) == (-2147483648, 2147483647)
    assert (absmax.CONSTANT_BITS, absmax.GAIN_BITS) == (24, 24)
    assert (absmax.CUT_BITS, absmax.SQUARE_BITS, absmax.SCALAR_BITS) == (28, 18, 31)
    assert (absmax.SIGMOID_ENTRIES, absmax.SIGMOID_RISE_BITS) == (4096, 15)
    assert ROLES_BY_KIND == {
        "gates": ("i", "f", "g"),
        "output": ("o",),
        "glu": ("gate_up",),
        "down": ("down",),
        "head": ("head",),
    }
