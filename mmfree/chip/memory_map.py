"""The memory map of a design: which memories a host fills, their words, and parts of words.

A word of weights has a share for each group of rows; on the chip each share is a memory of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmfree.chip.design import Design
from mmfree.chip.external_memory import ROW_BYTES
from mmfree.chip.header import header_bits
from mmfree.chip.weight_codes import find_code
from mmfree.contract.absmax import (
    ROLES_BY_KIND,
    SIGMOID_ENTRIES,
    SIGMOID_FB,
    SIGMOID_RISE_BITS,
    WITHOUT_NORM,
)
from mmfree.contract.pow2 import NOISE_INDEX_BITS, TABLE_ENTRIES

CHECK_BITS, PAGE_BITS, PAGE_WORDS = 32, 4096, 4
"""Bits of a segment's check word, and what is folded to one word before the CRC takes it
(docs/accelerator.md): PAGE_BITS of weights, but at least PAGE_WORDS words, one for each cycle that
the CRC takes.
"""

LOAD_BITS = 18
"""Most bits of a word that the load port writes at once: the width of a block RAM that has its own
write enable.
"""

LOADED_MEMORIES = (
    "weights",
    "headers",
    "embedding",
    "biases",
    "tables",
    "reciprocal_root",
    "gumbel",
)
"""Memories of an image, in the order of their numbers. Not every chip has all of them."""

EXTERNAL_MEMORIES = ("weights", "embedding", "biases")
"""Those of them that an external memory holds, if a design has one."""

POW2_MEMORIES = ("biases", "reciprocal_root")
"""Those of them that only a chip of pow2 has."""

PARAMETERS = "parameters"
"""absmax: what a fault names if a gain or a lower bound changed on the chip."""

BIAS_BITS, PARAMETER_BITS = 16, 24
"""Bits of a parameter in the stream of weights: a bias of pow2; a gain or a lower bound of absmax,
signed.
"""

SCALE_BITS = 16
"""absmax: bits of the scale of a row of the embedding, which lies before its elements."""

BUS_FAULTS = (
    "weights_response",
    "weights_timeout",
    "embedding_response",
    "embedding_timeout",
)
"""Faults of an external memory, numbered after LOADED_MEMORIES: an error for an answer, or none."""


@dataclass(frozen=True)
class LoadedShape:
    """A memory that the load port fills, ``part_bits`` of a word at once.

    Parameters
    ----------
    bits
        Width of a word, without parity.
    depth
        Words.
    parity
        Whether a further bit makes the number of ones even.
    groups
        Memories of equal width that share a word, each with whole parts.
    """

    bits: int
    depth: int
    parity: bool = True
    groups: int = 1

    @property
    def parts(self) -> int:
        """Parts of a word."""
        return self.groups * self.group_parts

    @property
    def group_parts(self) -> int:
        """Parts of a group's share of a word."""
        return -(-(self.bits // self.groups + self.parity) // LOAD_BITS)

    @property
    def part_bits(self) -> int:
        """Bits of a part; the last one of a group may be padded."""
        return -(-(self.bits // self.groups + self.parity) // self.group_parts)

    def with_parity(self, word: int) -> int:
        """The word as it is stored."""
        return word | (word.bit_count() & 1) << self.bits if self.parity else word


def loaded_memories(design: Design) -> tuple[str, ...]:
    """Those of LOADED_MEMORIES that the chip holds, and its load port writes."""
    elsewhere: tuple[str, ...] = EXTERNAL_MEMORIES if design.external is not None else ()
    if design.arithmetic == "absmax":
        elsewhere += POW2_MEMORIES
    return tuple(name for name in LOADED_MEMORIES if name not in elsewhere)


def fault_memories(design: Design) -> tuple[str, ...]:
    """What a fault may name, in the order of the numbers."""
    names: tuple[str, ...] = LOADED_MEMORIES
    if design.arithmetic == "absmax":
        names = ("weights", "headers", "embedding", PARAMETERS, "tables", "gumbel")
    return (*names, *(BUS_FAULTS if design.external is not None else ()))


def loaded_shape(design: Design, memory: str) -> LoadedShape:
    """Shape of one of LOADED_MEMORIES, if the chip holds it (``loaded_memories``)."""
    assert memory in loaded_memories(design), f"{memory} is in an external memory"
    shapes = {
        "weights": LoadedShape(
            word_bits(design), design.weight_words, parity=False, groups=design.num_groups
        ),
        "headers": LoadedShape(header_bits(design), design.header_words),
        "embedding": LoadedShape(8 * design.columns, design.embedding_rows * row_words(design)),
        "biases": LoadedShape(BIAS_BITS * design.post_width, design.bias_words),
        "tables": LoadedShape(16, 2 * TABLE_ENTRIES),
        "reciprocal_root": LoadedShape(8, 256),
        "gumbel": LoadedShape(14, 2 << NOISE_INDEX_BITS),
    }
    if design.arithmetic == "absmax":
        shapes["tables"] = LoadedShape(SIGMOID_FB + SIGMOID_RISE_BITS, SIGMOID_ENTRIES)
    return shapes[memory]


def group_shape(design: Design) -> LoadedShape:
    """Shape of one weight memory."""
    return LoadedShape(group_bits(design), design.weight_words, parity=False)


def group_bits(design: Design) -> int:
    """Bits of a group's share of a word of weights.

    Those of a port of an external memory; in block RAM whole parts of the load port, into which a
    check word fits, too. In absmax the parts are as wide as they can be, for block RAM is that wide
    anyway, and a word then holds more parameters; at least a group's share of P of them.
    """
    if (external := design.external) is not None:
        return external.port_bits
    code = find_code(design.weight_code)
    bits = max(CHECK_BITS, code.word_bits(design.group_rows * design.columns))
    if design.arithmetic == "absmax":
        bits = max(bits, PARAMETER_BITS * _fewest_parameters(design))
        return -(-bits // LOAD_BITS) * LOAD_BITS
    parts = -(-bits // LOAD_BITS)
    return -(-bits // parts) * parts


def word_bits(design: Design) -> int:
    """Bits of a word of weights."""
    return design.num_groups * group_bits(design)


def page_words(design: Design) -> int:
    """Words of weights that are folded to one."""
    return max(PAGE_WORDS, PAGE_BITS // word_bits(design))


def weight_memories(design: Design) -> tuple[str, ...]:
    """Names of the weight memories, one for each group of rows: of block RAM, or regions of an
    external memory.
    """
    return tuple(f"weights_{group}" for group in range(design.num_groups))


def chip_memories(design: Design) -> tuple[str, ...]:
    """Names of all memories of the chip that an image fills."""
    if design.external is not None:
        return loaded_memories(design)
    return (*weight_memories(design), *loaded_memories(design)[1:])


def parameter_bits(design: Design) -> int:
    """Bits of a parameter in the stream of weights."""
    return PARAMETER_BITS if design.arithmetic == "absmax" else BIAS_BITS


def _fewest_parameters(design: Design) -> int:
    """Parameters in a group's share, so that a word holds a whole number of P of them."""
    return design.post_width // math.gcd(design.post_width, design.num_groups)


def parameters_per_share(design: Design) -> int:
    """Parameters in a group's share of a word of parameters: as many as it holds, but a word holds
    a whole number of P.
    """
    most = group_bits(design) // parameter_bits(design)
    return most - most % _fewest_parameters(design)


def parameters_per_word(design: Design) -> int:
    """Parameters in a word; number n of them is number n % parameters_per_share of its share."""
    return design.num_groups * parameters_per_share(design)


def words_of_parameters(design: Design, count: int) -> int:
    """Words of the stream that hold ``count`` parameters."""
    return -(-count // parameters_per_word(design))


def parameter_words(design: Design) -> int:
    """Words of the stream that hold the biases, or at most the lower bounds, of one layer."""
    return words_of_parameters(design, design.post_width * design.bias_words)


def num_gains(kind: str) -> int:
    """absmax: gains of an element of the vector that a kind of segment reads: one for each matrix
    with gains of its own, and one for the norm before them. A power of two.
    """
    return len(ROLES_BY_KIND[kind]) + (kind != WITHOUT_NORM)


def most_gains(design: Design) -> int:
    """absmax: most gains of a vector (``num_gains`` for each element), padding included."""
    hidden_rows, all_rows = (
        -(-width // design.rows) * design.rows
        for width in (design.embedding_width, design.max_width)
    )
    hidden = max(hidden_rows, design.embedding_tiles * design.columns)
    return max(num_gains("gates") * hidden, num_gains("down") * all_rows)


def row_words(design: Design) -> int:
    """Words of C elements of a row of the embedding; in absmax the first holds its scale."""
    return design.embedding_tiles + (design.arithmetic == "absmax")


def row_beats(design: Design) -> int:
    """Beats of a row of the embedding in an external memory: its words, and a check word."""
    return row_words(design) + 1


def row_bytes(design: Design) -> int:
    """Distance of the rows of the embedding in an external memory: whole pieces of ROW_BYTES."""
    external = design.external
    assert external is not None
    return -(-row_beats(design) * external.port_bytes // ROW_BYTES) * ROW_BYTES
