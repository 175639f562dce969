"""The memory image of one design: the words of each memory, and the writes that load them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.design import Design
from mmfree.chip.memory_map import (
    LOADED_MEMORIES,
    LoadedShape,
    loaded_memories,
    loaded_shape,
    weight_memories,
)
from mmfree.contract.pow2 import gumbel_table, reciprocal_root_table

_LINES = 1 << 16
"""Words that become text at a time."""


class Words(Sequence[int]):
    """Words of a memory, packed: a sequence of integers that takes as many bytes as they do.

    ``shares``: uint8 [words, shares, bytes], the lowest byte first; each share has ``bits`` bits,
    and the bits above them are 0. Share g is in bits ``g * bits`` and up of a word. A word may be
    replaced, as in a list.
    """

    def __init__(self, shares: NDArray[np.uint8], bits: int) -> None:
        assert shares.shape[2] == -(-bits // 8), f"{shares.shape[2]} bytes for {bits} bits"
        self.shares, self.bits = shares, bits

    @classmethod
    def of(cls, values: Sequence[int], bits: int, shares: int = 1) -> Words:
        """The words of a list, of ``shares`` shares of ``bits`` bits each."""
        size, mask = -(-bits // 8), (1 << bits) - 1
        data = b"".join(
            (value >> share * bits & mask).to_bytes(size, "little")
            for value in values
            for share in range(shares)
        )
        return cls(
            np.frombuffer(data, dtype=np.uint8).reshape(len(values), shares, size).copy(), bits
        )

    def __len__(self) -> int:
        return len(self.shares)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        value = 0
        for share in self.shares[index][::-1]:
            value = value << self.bits | int.from_bytes(share.tobytes(), "little")
        return value

    def __setitem__(self, index: int, value: int) -> None:
        self.shares[index] = Words.of([value], self.bits, self.shares.shape[1]).shares[0]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Words) and (self.bits, self.shares.shape) == (
            other.bits,
            other.shares.shape,
        ):
            return bool(np.array_equal(self.shares, other.shares))
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def share(self, number: int) -> Words:
        """One share of every word."""
        return Words(self.shares[:, number : number + 1], self.bits)

    def lines(self) -> str:
        """The words, of one share, in hexadecimal without leading zeros, one a line."""
        return "".join(
            _lines(self.shares[start : start + _LINES]) for start in range(0, len(self), _LINES)
        )


def _lines(shares: NDArray[np.uint8]) -> str:
    digits = np.frombuffer(shares[:, 0, ::-1].tobytes().hex().encode(), dtype=np.uint8)
    lines = np.full((len(shares), 2 * shares.shape[2] + 1), ord("\n"), dtype=np.uint8)
    lines[:, :-1] = digits.reshape(len(shares), -1)
    kept = np.logical_or.accumulate(lines != ord("0"), axis=1)
    kept[:, -2] = True
    return lines[kept].tobytes().decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Image:
    """Contents of a design's memories.

    ``words``: memory (of LOADED_MEMORIES) -> its words as integers, parity included; a list of
    them, or ``Words``. A word of weights is the words of the groups of rows, ``group_bits`` each;
    in a group, lane (r, c) is number r C + c. Element c of a vector's word is in bits 8 c or 16 c
    and up; word t of embedding row v has the address t * embedding_rows + v (docs/decisions/0003);
    in absmax its word 0 holds the row's scale.
    """

    design: Design
    words: dict[str, Sequence[int]]

    def memory_files(self) -> dict[str, str]:
        """Name of a chip's memory -> contents in hexadecimal, one word a line."""
        return {name: words.lines() for name, words in self.memories().items()}

    def memories(self) -> dict[str, Words]:
        """Memory of the chip -> its words.

        As ``words``, but weights by group of rows (``weights_0`` and on).
        """
        memories = {}
        for name, words in self.packed().items():
            if name != "weights":
                memories[name] = words
            elif len(words):
                names = weight_memories(self.design)
                memories |= {name: words.share(group) for group, name in enumerate(names)}
        return memories

    def packed(self) -> dict[str, Words]:
        """``words``, all of them as ``Words``."""
        return {
            name: _packed(words, loaded_shape(self.design, name))
            for name, words in self.words.items()
        }

    def writes(self) -> Iterator[tuple[int, int, int, int]]:
        """What a host sends to the load port: (number of the memory, word, part, data)."""
        for name, words in self.words.items():
            shape = loaded_shape(self.design, name)
            for word, value in enumerate(words):
                yield from _word_writes(name, shape, word, value)

    def word_writes(self, name: str, word: int, value: int) -> Iterator[tuple[int, int, int, int]]:
        """What a host sends to write one word, part after part."""
        return _word_writes(name, loaded_shape(self.design, name), word, value)


def _packed(words: Sequence[int], shape: LoadedShape) -> Words:
    if isinstance(words, Words):
        return words
    return Words.of(words, shape.bits // shape.groups + shape.parity, shape.groups)


def _word_writes(
    name: str, shape: LoadedShape, word: int, value: int
) -> Iterator[tuple[int, int, int, int]]:
    number, mask = LOADED_MEMORIES.index(name), (1 << shape.part_bits) - 1
    for part in range(shape.parts):
        yield number, word, part, value >> part * shape.part_bits & mask


def constant_words(design: Design | None = None) -> dict[str, list[int]]:
    """The memories that are the same for every tape, without parity: those of a design's chip, or
    all.
    """
    words = {
        "reciprocal_root": [int(value) for value in reciprocal_root_table()],
        "gumbel": [int(value) & 0x3FFF for value in gumbel_table()],
    }
    held = LOADED_MEMORIES if design is None else loaded_memories(design)
    return {name: words[name] for name in words if name in held}
