"""Memories that a host fills: from a file at the start, and rewritten at run time.

Each word carries a parity bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.memory.block_memory import BlockMemory
from mmfree.chip.memory_map import LOAD_BITS, LoadedShape

LATENCY = 2
"""Cycles from an address to its word, without fabric registers."""

PARITY_SPAN = 5
"""Bits whose parity is computed in one cycle; the next cycle combines them for the whole word."""


def load_write(shape: LoadedShape) -> wiring.Signature:
    """Write of one part of a word: ``enable``, number of the word and of the part, its bits."""
    return wiring.Signature(
        {
            "enable": Out(1),
            "word": Out(range(max(2, shape.depth))),
            "part": Out(range(max(2, shape.parts))),
            "data": Out(LOAD_BITS),
        }
    )


class LoadedMemory(wiring.Component):
    """``reads`` read ports on words of ``shape.bits`` bits.

    Ports: ``load`` (a part of a word, written for reads from two cycles later on, or the next with
    ``fabric_registers``); ``address_N`` with ``enable_N`` (as of a BlockMemory); ``data_N``,
    ``latency`` cycles later: 2, and three more with ``fabric_registers``; ``parity_error_N`` a
    cycle after that (of the word; never set for words without parity). ``contents``: the words from
    the start, as they are stored, parity included; a memory without any is initialised from a
    memory file, or not at all.
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
        self.name, self._shape, self._reads = name, shape, reads
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
        ports: dict[str, Any] = {}
        for n in range(reads):
            ports |= {
                f"address_{n}": In(range(max(2, shape.depth))),
                f"enable_{n}": In(1, init=1),
                f"data_{n}": Out(shape.bits),
                f"parity_error_{n}": Out(1),
            }
        super().__init__({"load": In(load_write(shape)), **ports})

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
        for n in range(self._reads):
            word = getattr(memory, f"data_{n}")
            m.d.comb += [
                getattr(memory, f"address_{n}").eq(getattr(self, f"address_{n}")),
                getattr(memory, f"enable_{n}").eq(getattr(self, f"enable_{n}")),
                getattr(self, f"data_{n}").eq(word[: shape.bits]),
            ]
            if shape.parity:
                stored = word[: shape.bits + 1]
                sums = Cat(
                    stored[low : low + PARITY_SPAN].xor()
                    for low in range(0, len(stored), PARITY_SPAN)
                )
                m.d.comb += getattr(self, f"parity_error_{n}").eq(delay(m, sums, 1).xor())
        return m
