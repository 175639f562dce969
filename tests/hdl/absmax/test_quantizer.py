"""The quantizer against its definition in integers, with elements of every exponent."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hdl.absmax.quantizer import LATENCY, Quantizer
from mmfree.contract.absmax import CUT_BITS
from mmfree.golden import cuts
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE

HIGHEST = 1 << CUT_BITS - 1
MANTISSAS = [HIGHEST, HIGHEST + 1, 2 * HIGHEST - 1, 2 * HIGHEST - 2, 3 * HIGHEST // 2]
TOP_EXPONENT = 87

Cut = tuple[int, int, int]
"""Mantissa, exponent, whether it is negative."""


def quantized(element: Cut, largest: Cut) -> int:
    """Section 7 of docs/arithmetic_absmax.md."""
    (mantissa, exponent, negative), (divisor, highest, _) = element, largest
    if divisor == 0:
        return 0
    aligned = mantissa >> highest - exponent
    q = (254 * aligned + divisor) // (2 * divisor)
    return -q if negative else q


def item(pairs: list[tuple[Cut, bool]], largest: Cut) -> Item:
    names = ("mantissa", "exponent", "negative")
    return {
        "element": [dict(zip(names, element, strict=True)) for element, _ in pairs],
        "dropped": sum(dropped << n for n, (_, dropped) in enumerate(pairs)),
        "largest": dict(zip(names, largest, strict=True)),
    }


def vectors(rng: random.Random) -> list[tuple[list[Cut], Cut]]:
    """Elements that one vector may have, with its largest."""
    found: list[tuple[list[Cut], Cut]] = [([(0, 0, 0)], (0, 0, 0))]
    for exponent in (1, 5, 28, 31, 60, TOP_EXPONENT):
        for mantissa in [*MANTISSAS, rng.randrange(HIGHEST, 2 * HIGHEST)]:
            largest = (mantissa, exponent, rng.randrange(2))
            elements: list[Cut] = [(0, 0, 0), largest, (mantissa, exponent, 1 - largest[2])]
            for lower in range(min(exponent, 14)):
                for _ in range(3):
                    own = rng.choice([*MANTISSAS, rng.randrange(HIGHEST, 2 * HIGHEST)])
                    own = min(own, mantissa) if lower == 0 else own
                    elements.append((own, exponent - lower, rng.randrange(2)))
            elements.append((rng.choice(MANTISSAS), rng.randrange(1, exponent + 1), 0))
            if elements[-1][1] == exponent:
                elements[-1] = (HIGHEST, exponent, 0)
            # Halves, exactly and nearly: (2 k + 1) M = 254 a.
            for _ in range(8):
                half = (2 * rng.randrange(127) + 1) * mantissa // 254 + rng.randrange(-1, 2)
                own = half << CUT_BITS - half.bit_length()
                lower = CUT_BITS - half.bit_length()
                if half > 0 and lower < exponent:
                    elements.append((own, exponent - lower, rng.randrange(2)))
            found.append((elements, largest))
    return found


def twin(word: list[tuple[Cut, bool]], largest: Cut) -> list[int]:
    """What the golden model makes of it."""
    kept = [(0, 0, 0) if dropped else element for element, dropped in word]
    quotient: list[int] = cuts.quantize(_as_cut(kept), _as_cut([largest])).tolist()
    return quotient


def _as_cut(elements: list[Cut]) -> cuts.Cut:
    mantissa, exponent, negative = np.array(elements, dtype=np.int64).T
    return cuts.Cut(mantissa, exponent, negative.astype(bool))


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("idle", IDLE)
def test_quantizer(columns: int, idle: float) -> None:
    """Words of different vectors follow each other; what is dropped may be anything."""
    rng = random.Random(columns)
    words: list[tuple[list[tuple[Cut, bool]], Cut]] = []
    for elements, largest in vectors(rng):
        garbage = (rng.getrandbits(CUT_BITS), rng.getrandbits(7), rng.randrange(2))
        for element in elements:
            word = [(rng.choice(elements), False) for _ in range(columns - 1)]
            word.insert(rng.randrange(columns), (element, False))
            if rng.random() < 0.3:
                word[rng.randrange(columns)] = (garbage, True)
            words.append((word, largest))
    rng.shuffle(words)
    items = with_idle([item(*word) for word in words], idle)
    results = play(Quantizer(columns), items, LATENCY, ["q"])
    seen = set()
    for (word, largest), result in zip(words, results, strict=True):
        expected = [0 if dropped else quantized(element, largest) for element, dropped in word]
        assert result["q"] == expected, (word, largest)
        assert twin(word, largest) == expected
        seen.update(expected)
    assert {-127, -1, 0, 1, 127} <= seen
