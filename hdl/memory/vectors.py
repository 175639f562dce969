"""Vector memories: written by groups of P elements, read by words of C or by groups."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Shape, ShapeLike, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In

from hdl.fabric.pipeline import REACH, copies, delay, num_copies
from hdl.fabric.technology import technology_of
from hdl.interface import GroupWrite, VectorRead
from hdl.memory.block_memory import MAX_PART_BITS, BlockMemory
from hdl.payloads import vector_groups
from mmfree.chip.design import Design

MAX_DISTRIBUTED_WORDS = 64
"""Words of the deepest vector in distributed RAM; deeper ones take block RAM."""


def word_memory(bits: int, words: int) -> memory.Memory:
    """Memory for the words of a vector, with undefined contents."""
    style = "distributed" if words <= MAX_DISTRIBUTED_WORDS else "block"
    return memory.Memory(
        shape=unsigned(bits), depth=max(2, words), init=[], attrs={"ram_style": style}
    )


@dataclass(frozen=True)
class ValueParts:
    """How block RAM holds a value: in ``count`` equal parts of ``bits`` bits each."""

    count: int
    bits: int

    @classmethod
    def of(cls, value_bits: int) -> ValueParts:
        """As few parts as possible, as narrow as possible; the last one may be padded."""
        count = -(-value_bits // MAX_PART_BITS)
        return cls(count, -(-value_bits // count))


def value_memory(name: str, design: Design, words: int) -> BlockMemory:
    """Block memory for words of P values."""
    parts = ValueParts.of(design.value_bits)
    return BlockMemory(
        name, part_bits=parts.bits, parts=parts.count * design.post_width, depth=words
    )


def as_stored(design: Design, values: data.View[data.ArrayLayout]) -> Value:
    """The word of a ``value_memory`` that holds P values."""
    parts = ValueParts.of(design.value_bits)
    padding = Const(0, parts.count * parts.bits - design.value_bits)
    return Cat(Cat(value, padding) for value in values)


def from_stored(design: Design, word: Value) -> Value:
    """P values without padding, from a word of a ``value_memory``."""
    parts = ValueParts.of(design.value_bits)
    stored = parts.count * parts.bits
    return Cat(word[stored * p : stored * p + design.value_bits] for p in range(design.post_width))


class VectorMemory(wiring.Component):
    """``words`` words of C elements, of the design's values or of another ``shape``; P divides C.

    Ports::

        write  in  GroupWrite  P elements, padding included; for addresses from the next cycle on
        read   in  VectorRead  a word, LATENCY cycles after address

    One word per cycle, never stalls. Contents are undefined until written.
    """

    LATENCY = 2

    def __init__(self, design: Design, words: int, shape: ShapeLike | None = None) -> None:
        self._columns, self._width = design.columns, design.post_width
        self._words = max(2, words)
        self._value_bits = design.value_bits if shape is None else Shape.cast(shape).width
        super().__init__(
            {
                "write": In(GroupWrite(design, vector_groups(design, words), shape)),
                "read": In(VectorRead(design, self._words, self._columns, shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts, write = self._columns // self._width, self.write
        bits = (parts - 1).bit_length()
        # A memory for each group of a word. A few memories share a copy of the address: one
        # register for all columns would be too slow.
        technology = technology_of(platform)
        addresses = copies(m, technology, self.read.address, num_copies(self._columns))
        # A write passes a register as a read address does, so it is in time for the next address.
        write_addresses = copies(m, technology, write.group[bits:], parts)
        values = delay(m, write.data.as_value(), 1)
        for part in range(parts):
            words = word_memory(self._value_bits * self._width, self._words)
            m.submodules[f"part_{part}"] = words
            write_port, read_port = words.write_port(), words.read_port()
            elements = slice(part * len(values), (part + 1) * len(values))
            m.d.comb += [
                write_port.addr.eq(write_addresses[part]),
                write_port.en.eq(
                    delay(m, write.enable & (write.group[:bits] == part), 1, reset=True)
                ),
                write_port.data.eq(values),
                read_port.addr.eq(addresses[self._width * part // REACH]),
                self.read.data.as_value()[elements].eq(read_port.data),
            ]
        return m


class GroupMemory(wiring.Component):
    """A second copy of a vector, read by groups of P elements; P divides C.

    Ports::

        write  in  GroupWrite  as of a VectorMemory of as many words
        read   in  VectorRead  a group, LATENCY cycles after address

    What is read while it is written is anything. One group per cycle, never stalls. Contents are
    undefined until written.
    """

    LATENCY = 4

    def __init__(self, design: Design, words: int) -> None:
        width = design.post_width
        groups = vector_groups(design, words)
        # A separate memory, in block RAM if it is deep: choosing a group from the words of a
        # VectorMemory takes more than a LUT per column.
        self._design, self._memory = design, value_memory("groups", design, groups)
        self.memories = (self._memory,)
        super().__init__(
            {
                "write": In(GroupWrite(design, groups)),
                "read": In(VectorRead(design, groups, width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = self._memory
        enables = self.write.enable.replicate(len(memory.write.enable))
        # A register before the RAM and one after it: it may be far away.
        m.d.comb += [
            memory.write.address.eq(delay(m, self.write.group, 1)),
            memory.write.data.eq(as_stored(self._design, delay(m, self.write.data, 1))),
            memory.write.enable.eq(delay(m, enables, 1, reset=True)),
            memory.read[0].address.eq(delay(m, self.read.address, 1)),
            self.read.data.as_value().eq(
                delay(m, from_stored(self._design, memory.read[0].data), 1)
            ),
        ]
        assert memory.latency + 2 == self.LATENCY
        return m
