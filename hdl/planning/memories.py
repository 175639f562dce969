"""The memories of a design that may be block RAM: how deep and how wide, and how many blocks."""

from __future__ import annotations

from dataclasses import dataclass

from hdl.fabric.ecp5_ram import count_blocks, disabled_blocks
from hdl.memory.vectors import MAX_DISTRIBUTED_WORDS, ValueParts
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
    found += _external_memories(design)
    logit_words = max(2, design.max_blocks * design.groups_per_block)
    x_words = max(2, design.embedding_tiles) * design.columns // width
    found.append(BlockRam(count=1, depth=logit_words, part_bits=16, parts=width, reads=1))
    value = ValueParts.of(design.value_bits)
    found += [
        BlockRam(count=1, depth=depth, part_bits=value.bits, parts=value.count * width, reads=1)
        for depth in (2 * max(2, design.state_words), x_words)
    ]
    # The words of vectors, x and u in parts of P elements.
    parts = design.columns // width
    found += [
        _whole_words(count, bits, depth)
        for count, bits, depth in (
            (parts, design.value_bits * width, design.embedding_tiles),
            (parts, design.value_bits * width, design.max_tiles),
            (2, 8 * design.columns, design.max_tiles),
        )
        if depth > MAX_DISTRIBUTED_WORDS
    ]
    return found


def _whole_words(count: int, bits: int, depth: int) -> BlockRam:
    """Memories that are written word by word: Yosys takes 36 bits of a block."""
    return BlockRam(count=count * -(-bits // 36), depth=depth, part_bits=18, parts=2, reads=1)


def _external_memories(design: Design) -> list[BlockRam]:
    """Rings between the ports and the array, and the biases of a layer."""
    if (external := design.external) is None:
        return []
    # A beat with its answer; a bias with its parity.
    return [
        _whole_words(external.ports, external.port_bits + 1, RING_WORDS),
        BlockRam(
            count=external.ports,
            depth=parameter_words(design),
            part_bits=17,
            parts=external.port_bits // 16,
            reads=1,
        ),
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
