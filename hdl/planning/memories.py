"""The memories of a design that may be block RAM: how deep and how wide, and how many blocks."""

from __future__ import annotations

from dataclasses import dataclass

from hdl.absmax.norm.elements import vector_words
from hdl.fabric.ecp5_ram import count_blocks, disabled_blocks
from hdl.memory.parameters import gain_words, share_parts
from hdl.memory.vectors import MAX_DISTRIBUTED_WORDS, ValueParts
from hdl.payloads import CUT, logit_words, vector_groups
from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_shape, loaded_memories, loaded_shape, parameter_words
from mmfree.errors import InputError

LARGEST_PART_BITS = 2688 * 36 << 10
"""Bits of block RAM of the largest part here (hdl/planning/parts.toml)."""

MOST_MEMORY_BITS = 4 * LARGEST_PART_BITS // 3
"""Most bits of memory that cells are counted for: no part has room for more. Multiplexers of banks
would be most of a count, and planning the banks takes seconds.
"""

RING_WORDS = 512
"""Words of the ring between a port of an external memory and the array."""


@dataclass(frozen=True, kw_only=True)
class BlockRam:
    """``count`` equal memories with ``reads`` read ports: ``depth`` words of ``parts`` parts of
    ``part_bits`` bits, each part with a write enable of its own.
    """

    count: int
    depth: int
    part_bits: int
    parts: int
    reads: int


class TooMuchMemoryError(InputError):
    """A design whose memories no part has room for: its cells are not worth counting."""


def memories(design: Design) -> list[BlockRam]:
    """All memories of a design that may be block RAM.

    Raises
    ------
    TooMuchMemoryError
        If those that are loaded hold more than MOST_MEMORY_BITS.
    """
    bits = memory_bits(design)
    if bits > MOST_MEMORY_BITS:
        raise TooMuchMemoryError(
            f"its memories hold {bits / 1e6:,.0f} Mbit, and the largest part here has"
            f" {LARGEST_PART_BITS / 1e6:,.0f} Mbit of block RAM: take a smaller model, or weights"
            " from an external memory (`mmfree fit` lists both)"
        )
    width = design.post_width
    reads = {"tables": 2 * width, "gumbel": width}
    found = []
    for name in loaded_memories(design):
        several = name == "weights"
        shape = group_shape(design) if several else loaded_shape(design, name)
        found.append(
            BlockRam(
                count=design.num_groups if several else 1,
                depth=shape.depth,
                part_bits=shape.part_bits,
                parts=shape.parts,
                reads=reads.get(name, 1),
            )
        )
    if (external := design.external) is not None:
        # A ring between each port and the array: a beat with its answer. That of the rows is
        # shallower, and block RAM, too, for it is between two clocks.
        found.append(_whole_words(external.ports + 1, external.port_bits + 1, RING_WORDS))
    found += parameter_memories(design)
    if design.stores_logits:
        found.append(_groups(design, logit_words(design)))
    found += [
        _groups(design, 2 * max(2, design.kept_words)),
        _groups(design, vector_groups(design, design.embedding_tiles)),
    ]
    found += [
        _whole_words(count, bits, depth)
        for count, bits, depth in vector_memories(design)
        if depth > MAX_DISTRIBUTED_WORDS
    ]
    return found


def vector_memories(design: Design) -> list[tuple[int, int, int]]:
    """Memories of vectors and activations that are in distributed RAM unless they are deep: how
    many there are, their bits, and their words.
    """
    # The words of vectors in parts of P elements.
    parts, activations = design.columns // design.post_width, 8 * design.columns
    if design.arithmetic == "absmax":
        words = vector_words(design)
        return [(parts, CUT.size * design.post_width, words), (1, activations, words)]
    values = design.value_bits * design.post_width
    return [
        (parts, values, design.embedding_tiles),
        (parts, values, design.max_tiles),
        (2, activations, design.max_tiles),
    ]


def _groups(design: Design, depth: int) -> BlockRam:
    """A memory of groups of P values."""
    value = ValueParts.of(design.value_bits)
    parts = value.count * design.post_width
    return BlockRam(count=1, depth=depth, part_bits=value.bits, parts=parts, reads=1)


def _whole_words(count: int, bits: int, depth: int) -> BlockRam:
    """Memories that are written word by word: Yosys takes 36 bits of a block."""
    return BlockRam(count=count * -(-bits // 36), depth=depth, part_bits=18, parts=2, reads=1)


def parameter_memories(design: Design) -> list[BlockRam]:
    """What keeps parameters that come with the weights, each with its parity: gains and lower
    bounds of absmax; of pow2 the biases of a layer, with an external memory.
    """
    if design.arithmetic == "absmax":
        parts, part_bits = share_parts(design)
        return [
            BlockRam(
                count=design.num_groups, depth=depth, part_bits=part_bits, parts=parts, reads=1
            )
            for depth in (2 * gain_words(design), parameter_words(design))
        ]
    if (external := design.external) is None:
        return []
    return [
        BlockRam(
            count=external.ports,
            depth=parameter_words(design),
            part_bits=17,
            parts=external.port_bits // 16,
            reads=1,
        )
    ]


def memory_blocks(design: Design) -> int:
    """Block RAMs of a design; TooMuchMemoryError as of ``memories``."""
    return sum(
        memory.count * count_blocks(memory.depth, memory.part_bits, memory.parts, memory.reads)
        for memory in memories(design)
    )


def memory_bits(design: Design) -> int:
    """Bits of the memories that are loaded: what a part must have room for, however it does so."""
    shapes = [loaded_shape(design, name) for name in loaded_memories(design)]
    return sum(shape.depth * shape.parts * shape.part_bits for shape in shapes)


def disabled_memory_blocks(design: Design) -> float:
    """How many of these are disabled on average while all memories are read, one bank of each."""
    return sum(
        memory.count * disabled_blocks(memory.depth, memory.part_bits, memory.parts, memory.reads)
        for memory in memories(design)
    )
