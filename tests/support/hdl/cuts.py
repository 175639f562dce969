"""Cut elements as tests of the blocks of absmax make and compare them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmfree.chip.design import Design
from mmfree.contract.absmax import CUT_BITS
from mmfree.golden.cuts import Cut
from tests.support.hdl.values import small_design

HIGHEST = 1 << CUT_BITS - 1
MANTISSAS = [HIGHEST, HIGHEST + 1, 2 * HIGHEST - 513, 2 * HIGHEST - 512, 2 * HIGHEST - 1]
"""The smallest, and the largest; around the half above which a square's 18 bits overflow."""

Element = dict[str, int]
"""Of a cut element: mantissa, exponent, negative."""

ZERO: Element = {"mantissa": 0, "exponent": 0, "negative": 0}


def element(rng: random.Random, low: int, high: int) -> Element:
    """One of a bit length of ``low`` to ``high``, with a mantissa that such an integer has."""
    exponent = rng.randint(low, high)
    if exponent == 0:
        return ZERO
    mantissa = rng.choice([*MANTISSAS, rng.randrange(HIGHEST, 2 * HIGHEST)])
    dropped = max(0, CUT_BITS - exponent)
    return {
        "mantissa": mantissa >> dropped << dropped,
        "exponent": exponent,
        "negative": rng.getrandbits(1),
    }


def golden_cut(elements: Sequence[Element]) -> Cut:
    """As the golden model has them."""
    fields = ("mantissa", "exponent", "negative")
    mantissa, exponent, negative = (
        np.array([one[name] for one in elements], dtype=np.int64) for name in fields
    )
    return Cut(mantissa, exponent, negative.astype(bool))


def from_golden(cut: Cut) -> list[Element]:
    """As the blocks have them."""
    columns = (field.astype(np.int64).tolist() for field in cut)
    return [
        {"mantissa": mantissa, "exponent": exponent, "negative": negative}
        for mantissa, exponent, negative in zip(*columns, strict=True)
    ]


def absmax_design(rows: int, columns: int, max_width: int, width: int = 1) -> Design:
    """A small design of this arithmetic."""
    design = small_design(rows, columns, max_width, post_width=width, embedding_width=max_width)
    return replace(design, arithmetic="absmax", value_bits=32, stores_logits=False)
