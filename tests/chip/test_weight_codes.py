"""Weight codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmfree.chip.weight_codes import INT8, WEIGHT_CODES, find_code
from mmfree.errors import InputError


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
    packed = code.pack(trits)
    assert packed.shape == (7, -(-code.word_bits(lanes) // 8))
    for row, data in zip(trits.tolist(), packed, strict=True):
        row += [0] * (-lanes % code.group)
        word = int.from_bytes(data.tobytes(), "little")
        assert word < 1 << code.word_bits(lanes)
        for index in range(0, len(row), code.group):
            number = word >> index // code.group * code.bits & ((1 << code.bits) - 1)
            assert number == code.codes[tuple(row[index : index + code.group])]


def test_codes_worked_by_hand() -> None:
    """docs/accelerator.md: two trits as two bits each and a third as one; 2 marks a third of -1."""
    two, triple, five = (WEIGHT_CODES[name].codes for name in ("2", "1.67", "1.6"))
    assert two == {(0,): 0, (1,): 1, (-1,): 3}
    assert triple[1, -1, 0] == 0b0_11_01
    assert triple[-1, 0, 1] == 0b1_00_11
    assert triple[1, -1, -1] == 0b1_11_10
    assert triple[-1, 1, -1] == 0b0_10_01
    assert five[1, -1, 0, -1, 1] == 0b01101_111
    assert five[1, -1, 0, 0, -1] == 0b01101_010
    assert five[1, -1, -1, -1, -1] == 0b110_10_111


def test_int8_is_for_experiments() -> None:
    """Found by its name, and not offered."""
    assert find_code("int8") is INT8
    assert (INT8.bits_per_weight, INT8.lane_bits, INT8.product_bits) == (8, 8, 7)
    assert {(code.lane_bits, code.product_bits) for code in WEIGHT_CODES.values()} == {(2, 0)}
    assert INT8.word_bits(5) == 40
    packed = INT8.pack(np.array([[1, -128], [-1, 127]], dtype=np.int8))
    assert packed.tolist() == [[1, 0x80], [0xFF, 0x7F]]
    assert find_code("1.6") is WEIGHT_CODES["1.6"]
    with pytest.raises(InputError, match=r"weight_code must be one of 2, 1\.67, 1\.6, got 'int4'"):
        find_code("int4")
