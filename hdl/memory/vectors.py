"""Vector memories: written by groups of P elements, read by words of C or by groups."""

from __future__ import annotations

from amaranth.hdl import Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from hdl.fabric.pipeline import REACH, copies, delay, num_copies
from hdl.fabric.technology import technology_of
from hdl.interface import GroupWrite, VectorRead, vector_groups
from hdl.memory.block_memory import BlockMemory
from mmfree.chip.design import Design

MAX_DISTRIBUTED_WORDS = 64
"""Words of the deepest vector in distributed RAM; deeper ones take block RAM."""


def word_memory(bits: int, words: int) -> memory.Memory:
    """Memory for the words of a vector, with undefined contents."""
    style = "distributed" if words <= MAX_DISTRIBUTED_WORDS else "block"
    return memory.Memory(
        shape=unsigned(bits), depth=max(2, words), init=[], attrs={"ram_style": style}
    )


class VectorMemory(wiring.Component):
    """``words`` words of C elements; P divides C.

    Ports::

        write  in  GroupWrite  P elements, padding included; for addresses from the next cycle on
        read   in  VectorRead  a word, LATENCY cycles after address

    One word per cycle, never stalls. Contents are undefined until written.
    """

    LATENCY = 2

    def __init__(self, design: Design, words: int) -> None:
        self._columns, self._width = design.columns, design.post_width
        self._words = max(2, words)
        super().__init__(
            {
                "write": In(GroupWrite(design, vector_groups(design, words))),
                "read": In(VectorRead(design, self._words, self._columns)),
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
            words = word_memory(16 * self._width, self._words)
            m.submodules[f"part_{part}"] = words
            write_port, read_port = words.write_port(), words.read_port()
            elements = slice(16 * self._width * part, 16 * self._width * (part + 1))
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
        self._memory = BlockMemory("groups", part_bits=16, parts=width, depth=groups)
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
            memory.write.data.eq(delay(m, self.write.data.as_value(), 1)),
            memory.write.enable.eq(delay(m, enables, 1, reset=True)),
            memory.read[0].address.eq(delay(m, self.read.address, 1)),
            self.read.data.as_value().eq(delay(m, memory.read[0].data, 1)),
        ]
        assert memory.latency + 2 == self.LATENCY
        return m
