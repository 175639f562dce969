"""Weight codes: how the words of an image hold trits.

The code belongs to the image and its design; a tape has its own (docs/decisions/0007).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import not_one_of

Trits = tuple[int, ...]

_VALUES = (0, 1, -1)


@dataclass(frozen=True)
class WeightCode:
    """A code of ``group`` trits in ``bits`` bits; ``codes``: trits -> code.

    ``lane_bits``: of a weight as an array takes it. ``product_bits``: bits by which a weight times
    an activation may be longer than the activation.
    """

    name: str
    group: int
    bits: int
    codes: dict[Trits, int]
    lane_bits: int = 2
    product_bits: int = 0

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
    """0, 1, 3 for 0, +1, -1: bit 0 says that something is added, bit 1 that it is negative."""
    return {(value,): value & 3 for value in _VALUES}


def _triple(t0: int, t1: int, t2: int) -> int:
    """Five bits: two trits as two bits each and a third, 0 or +1, as one bit.

    2 in a place of two bits, which is no trit's code, marks that the third trit is -1.
    """
    two_bits = {0: 0, 1: 1, -1: 3}
    if t2 >= 0:
        first, second, last = two_bits[t0], two_bits[t1], t2
    elif t0 >= 0:
        first, second, last = 2, two_bits[t1], t0
    else:
        first, second, last = two_bits[t1], 2, 0
    return first | second << 2 | last << 4


def _pair(t0: int, t1: int) -> int | None:
    """Three bits in the same way: a trit as two, one as one; the ninth pair, (-1, -1), has none."""
    if t1 >= 0:
        return {0: 0, 1: 1, -1: 3}[t0] | t1 << 2
    return 2 | t0 << 2 if t0 >= 0 else None


def _three_in_five_codes() -> dict[Trits, int]:
    return {trits: _triple(*trits) for trits in itertools.product(_VALUES, repeat=3)}


def _five_in_eight_codes() -> dict[Trits, int]:
    """A pair in bits 0 to 2 and a triple in bits 3 to 7.

    No triple has a 2 in its second place and 1 above it: that marks the ninth pair, and the
    triple's upper three bits are then in bits 0 to 2.
    """
    codes = {}
    for trits in itertools.product(_VALUES, repeat=5):
        triple, pair = _triple(*trits[:3]), _pair(*trits[3:])
        if pair is not None:
            codes[trits] = pair | triple << 3
        else:
            codes[trits] = triple >> 2 | (triple & 3) << 3 | 0b110 << 5
    return codes


WEIGHT_CODES = {
    code.name: code
    for code in (
        WeightCode("2", 1, 2, _two_bit_codes()),
        WeightCode("1.67", 3, 5, _three_in_five_codes()),
        WeightCode("1.6", 5, 8, _five_in_eight_codes()),
    )
}
"""By bits per weight."""


@dataclass(frozen=True)
class Int8Code(WeightCode):
    """Weights of eight bits, for which no array is built here."""

    def pack(self, trits: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Words of any int8 [n, lanes] to their bits, two's complement."""
        bits = trits.view(np.uint8)[..., None] >> np.arange(8) & 1
        return bits.reshape(len(trits), -1).astype(np.uint8)


INT8 = Int8Code("int8", 1, 8, {(v,): v & 0xFF for v in range(-128, 128)}, 8, 7)
"""For arrays that an experiment hands to the accelerator; the command line does not offer it."""


def find_code(name: str) -> WeightCode:
    """The code of a name, of WEIGHT_CODES or INT8.

    Raises
    ------
    InputError
        If there is none.
    """
    # A name from a JSON file may be anything, a list among others.
    known = WEIGHT_CODES | {INT8.name: INT8}
    if not isinstance(name, str) or (code := known.get(name)) is None:
        raise not_one_of("weight_code", name, WEIGHT_CODES)
    return code
