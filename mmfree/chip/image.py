"""The memory image of one design: the words of each memory, and the writes that load them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES, group_bits, loaded_shape, weight_memories
from mmfree.contract.pow2 import gumbel_table, reciprocal_root_table


@dataclass(frozen=True, kw_only=True)
class Image:
    """Contents of a design's memories.

    ``words``: memory (of LOADED_MEMORIES) -> its words as integers, parity included. A word of
    weights is the words of the groups of rows, ``group_bits`` each; in a group, lane (r, c) is
    number r C + c. Element c of a vector's word is in bits 8 c or 16 c and up; word t of embedding
    row v has the address t * embedding_rows + v (docs/decisions/0003).
    """

    design: Design
    words: dict[str, list[int]]

    def memory_files(self) -> dict[str, str]:
        """Name of a chip's memory -> contents in hexadecimal, one word a line."""
        return {
            name: "".join(f"{word:x}\n" for word in words)
            for name, words in self.memories().items()
        }

    def memories(self) -> dict[str, list[int]]:
        """Memory of the chip -> its words.

        As ``words``, but weights by group of rows (``weights_0`` and on).
        """
        memories = {name: words for name, words in self.words.items() if name != "weights"}
        bits = group_bits(self.design)
        for group, name in enumerate(weight_memories(self.design)):
            shares = [
                word >> group * bits & (1 << bits) - 1 for word in self.words.get("weights", ())
            ]
            if shares:
                memories[name] = shares
        return memories

    def writes(self) -> Iterator[tuple[int, int, int, int]]:
        """What a host sends to the load port: (number of the memory, word, part, data)."""
        for name, words in self.words.items():
            for word, value in enumerate(words):
                yield from self.word_writes(name, word, value)

    def word_writes(self, name: str, word: int, value: int) -> Iterator[tuple[int, int, int, int]]:
        """What a host sends to write one word, part after part."""
        shape, number = loaded_shape(self.design, name), LOADED_MEMORIES.index(name)
        for part in range(shape.parts):
            data = value >> part * shape.part_bits & ((1 << shape.part_bits) - 1)
            yield number, word, part, data


def constant_words() -> dict[str, list[int]]:
    """The memories that are the same for every tape, without parity."""
    return {
        "reciprocal_root": [int(value) for value in reciprocal_root_table()],
        "gumbel": [int(value) & 0x3FFF for value in gumbel_table()],
    }
