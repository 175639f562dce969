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
from mmfree.tape.trits import number_trits

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
        """Words [n, lanes] to their bytes, uint8 [n, word_bits / 8 rounded up], lowest bit first.

        The last group of a word may be padded with zeros, and so is its last byte.
        """
        codes = self._by_number[number_trits(_in_groups(trits, self.group * self._together))]
        if 8 % self.bits == 0:
            return codes
        bits = codes[..., None] >> np.arange(self.bits, dtype=np.uint8) & 1
        return np.packbits(bits.reshape(len(trits), -1), axis=1, bitorder="little")

    @property
    def _together(self) -> int:
        """Codes that are looked up together: those of a byte, if they fill it."""
        return 1 if 8 % self.bits else 8 // self.bits

    @cached_property
    def _by_number(self) -> NDArray[np.uint8]:
        """The codes, the first in the low bits, of the trits of a number (``number_trits``)."""
        table = np.zeros(3 ** (self.group * self._together), dtype=np.uint8)
        for number in range(len(table)):
            trits = [number // 3**n % 3 - 1 for n in range(self.group * self._together)]
            for n in range(self._together):
                code = self.codes[tuple(trits[n * self.group : (n + 1) * self.group])]
                table[number] |= code << n * self.bits
        return table


def _in_groups(trits: NDArray[np.int8], group: int) -> NDArray[np.int8]:
    """Words [n, lanes] as [n, groups, group]; the last group may be padded with zeros."""
    count, lanes = trits.shape
    if lanes % group:
        padded = np.zeros((count, -(-lanes // group) * group), dtype=np.int8)
        padded[:, :lanes] = trits
        trits = padded
    return trits.reshape(count, -1, group)


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
        """Words of any int8 [n, lanes] to their bytes, two's complement."""
        return trits.view(np.uint8)


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
