"""Weight codes: how trits stand in the words of an image. A property of the image and its design, not of the tape."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Trits = tuple[int, ...]

_VALUES = (0, 1, -1)
_TRIPLES = tuple(itertools.product(_VALUES, repeat=3))
_PAIRS = tuple(itertools.product(_VALUES, repeat=2))


@dataclass(frozen=True)
class WeightCode:
    """A code of ``group`` trits in ``bits`` bits; ``codes``: trits -> code."""

    name: str
    group: int
    bits: int
    codes: dict[Trits, int]

    @property
    def bits_per_weight(self) -> float:
        """Storage per weight."""
        return self.bits / self.group

    def word_bits(self, lanes: int) -> int:
        """Bits that hold a word of ``lanes`` weights; the last group may be padded with zeros."""
        return -(-lanes // self.group) * self.bits

    def pack(self, trits: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Words [n, lanes] to their bits, uint8 [n, word_bits] of 0 and 1, lowest bit first."""
        count, lanes = trits.shape
        padded = np.zeros((count, -(-lanes // self.group) * self.group), dtype=np.int64)
        padded[:, :lanes] = trits
        digits = (padded.reshape(count, -1, self.group) + 1) * 3 ** np.arange(self.group)
        codes = self._by_number[digits.sum(axis=-1)]
        bits = codes[..., None] >> np.arange(self.bits) & 1
        return bits.reshape(count, -1).astype(np.uint8)

    @cached_property
    def _by_number(self) -> NDArray[np.int64]:
        """Code of the trits whose base-3 number (digit t + 1, first trit lowest) is the index."""
        table = np.zeros(3**self.group, dtype=np.int64)
        for trits, code in self.codes.items():
            table[sum((t + 1) * 3**place for place, t in enumerate(trits))] = code
        return table


def _two_bit_codes() -> dict[Trits, int]:
    """0, 1, 3 for 0, +1, -1: bit 0 says that there is something to add, bit 1 that it is negative."""
    return {(value,): value & 3 for value in _VALUES}


def _five_in_eight_codes() -> dict[Trits, int]:
    """A triple of 27 values and a pair of 9, so that each is decoded by itself.

    Pairs 0 to 7 stand in the low 3 bits, the triple above (0..26). The ninth pair is marked by both top bits and bit 5 set (a triple of 28 and up), and then the
    triple stands in bits 0 to 4. Plain base 3 has functions of all 8 bits: 25 LUT4 per weight instead of 6 (docs/decisions/0007).
    """
    codes = {}
    for (t, triple), (p, pair) in itertools.product(enumerate(_TRIPLES), enumerate(_PAIRS)):
        codes[triple + pair] = t << 3 | p if p < 8 else 0b111 << 5 | t
    return codes


def _three_in_five_codes() -> dict[Trits, int]:
    return {triple: number for number, triple in enumerate(_TRIPLES)}


WEIGHT_CODES = {
    code.name: code
    for code in (
        WeightCode("2", 1, 2, _two_bit_codes()),
        WeightCode("1.67", 3, 5, _three_in_five_codes()),
        WeightCode("1.6", 5, 8, _five_in_eight_codes()),
    )
}
"""By bits per weight."""
