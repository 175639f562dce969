"""Weight codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmfree.chip.weight_codes import WEIGHT_CODES


@pytest.mark.parametrize("name", sorted(WEIGHT_CODES))
def test_every_group_has_a_code_of_its_own(name: str) -> None:
    code = WEIGHT_CODES[name]
    assert set(code.codes) == set(itertools.product((-1, 0, 1), repeat=code.group))
    assert len(set(code.codes.values())) == 3**code.group
    assert max(code.codes.values()) < 1 << code.bits
    assert code.codes[(0,) * code.group] == 0
    assert float(name) == pytest.approx(code.bits_per_weight, abs=0.01)


@pytest.mark.parametrize("name", sorted(WEIGHT_CODES))
@pytest.mark.parametrize("lanes", [1, 4, 15, 16])
def test_words_are_packed_group_after_group(name: str, lanes: int) -> None:
    code = WEIGHT_CODES[name]
    trits = np.random.default_rng(0).integers(-1, 2, (7, lanes)).astype(np.int8)
    bits = code.pack(trits)
    assert bits.shape == (7, code.word_bits(lanes))
    for row, packed in zip(trits.tolist(), bits.tolist(), strict=True):
        row += [0] * (-lanes % code.group)
        word = sum(bit << place for place, bit in enumerate(packed))
        for index in range(0, len(row), code.group):
            number = word >> index // code.group * code.bits & ((1 << code.bits) - 1)
            assert number == code.codes[tuple(row[index : index + code.group])]
