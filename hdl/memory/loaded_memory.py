"""Memories that a host fills: from a file at the start, and rewritten at run time.

Each word carries a parity bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, ShapeLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.memory.block_memory import BlockMemory, ReadPort
from mmfree.chip.memory_map import LOAD_BITS, LoadedShape

LATENCY = 2
"""Cycles from an address to its word, without fabric registers."""

PARITY_SPAN = 5
"""Bits whose parity is computed in one cycle; the next cycle combines them for the whole word."""


class LoadWrite(wiring.Signature):
    """A write of one part of a word of a loaded memory, seen from the writer.

    Members::

        enable  out  1             write it
        word    out  range(depth)  number of the word
        part    out  range(parts)  number of the part
        data    out  18            its bits; those beyond the part are ignored
    """

    def __init__(self, shape: LoadedShape) -> None:
        super().__init__(
            {
                "enable": Out(1),
                "word": Out(range(max(2, shape.depth))),
                "part": Out(range(max(2, shape.parts))),
                "data": Out(LOAD_BITS),
            }
        )


class CheckedRead(wiring.Signature):
    """A read of a loaded memory, seen from the reader: a ``ReadPort`` with the word's parity.

    Members::

        address       out  range(depth)  of the word; should come from a register
        enable        out  1             read it: without, data is anything; 1 unless connected
        data          in   shape         the word, the memory's latency after address
        parity_error  in   1             the word's parity is wrong; a cycle after data
    """

    def __init__(self, depth: int, shape: ShapeLike) -> None:
        super().__init__({**ReadPort(depth, shape).members, "parity_error": In(1)})


class LoadedMemory(wiring.Component):
    """A memory of words of ``shape.bits`` bits, read on ``reads`` ports.

    Ports::

        load  in  LoadWrite            for reads from two cycles later on, or the next (see below)
        read  in  reads x CheckedRead  data ``latency`` cycles after address, parity_error one more

    The latency is 2, and three more with ``fabric_registers``, which also take a write a cycle
    later. ``parity_error`` is never set for words without parity. ``contents``: the words from the
    start, as they are stored, parity included; a memory without any is initialised from a memory
    file, or not at all.
    """

    def __init__(
        self,
        name: str,
        shape: LoadedShape,
        *,
        reads: int = 1,
        fabric_registers: bool = False,
        contents: Sequence[int] = (),
    ) -> None:
        self.name, self._shape = name, shape
        self._fabric_registers = fabric_registers
        self.memory = BlockMemory(
            name,
            part_bits=shape.part_bits,
            parts=shape.parts,
            depth=shape.depth,
            reads=reads,
            init=contents,
            fabric_registers=fabric_registers,
        )
        self.memories = self.memory.memories
        self.contents = self.memory.contents
        self.latency = self.memory.latency
        super().__init__(
            {
                "load": In(LoadWrite(shape)),
                "read": In(CheckedRead(shape.depth, shape.bits)).array(reads),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, load = self._shape, self.load
        m.submodules.memory = memory = self.memory
        # A register, unless the memory has one: a host's write reaches every block.
        way_in = int(not self._fabric_registers)
        enable = Cat(load.enable & (load.part == n) for n in range(shape.parts))
        m.d.comb += [
            memory.write.address.eq(delay(m, load.word, way_in)),
            memory.write.data.eq(
                delay(m, load.data[: shape.part_bits], way_in).replicate(shape.parts)
            ),
            memory.write.enable.eq(delay(m, enable, way_in, reset=True)),
        ]
        for port, stored_port in zip(self.read, memory.read, strict=True):
            m.d.comb += [
                stored_port.address.eq(port.address),
                stored_port.enable.eq(port.enable),
                port.data.eq(stored_port.data[: shape.bits]),
            ]
            if shape.parity:
                stored = stored_port.data[: shape.bits + 1]
                sums = Cat(
                    stored[low : low + PARITY_SPAN].xor()
                    for low in range(0, len(stored), PARITY_SPAN)
                )
                m.d.comb += port.parity_error.eq(delay(m, sums, 1).xor())
        return m
