"""Memories that a host fills: initialised from a memory file, rewritten at run time, each word with a parity bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.pipeline import delay
from mmfree.design import LOAD_BITS, LoadedShape


def load_write(shape: LoadedShape) -> wiring.Signature:
    """Write of one part of a word: word, part, and the part's bits."""
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

    Ports: ``load`` (a part of a word, written for reads from the next cycle on); ``address_N``; ``data_N`` and ``wrong_N`` (the word's parity is wrong), ``latency``
    cycles later: 1, and a further one for ``registered`` (the block RAM's own output register). A word without parity is never wrong. ``contents`` (words without
    parity): of a memory that a tape does not fill; others are initialised from a memory file, or not at all.
    """

    def __init__(
        self,
        name: str,
        shape: LoadedShape,
        *,
        reads: int = 1,
        registered: bool = False,
        contents: Sequence[int] = (),
    ) -> None:
        self.name, self._shape, self._reads, self._registered = name, shape, reads, registered
        initial = [shape.with_parity(word) for word in contents]
        self.contents = memory.MemoryData(
            shape=unsigned(shape.parts * shape.part_bits), depth=max(2, shape.depth), init=initial
        )
        self.latency = 1 + registered
        ports: dict[str, Any] = {}
        for n in range(reads):
            ports |= {
                f"address_{n}": In(range(max(2, shape.depth))),
                f"data_{n}": Out(shape.bits),
                f"wrong_{n}": Out(1),
            }
        super().__init__({"load": In(load_write(shape)), **ports})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        words = memory.Memory(self.contents)
        setattr(m.submodules, self.name, words)
        write = words.write_port(granularity=shape.part_bits)
        m.d.comb += [
            write.addr.eq(self.load.word),
            write.data.eq(self.load.data[: shape.part_bits].replicate(shape.parts)),
            write.en.eq(Cat(self.load.enable & (self.load.part == n) for n in range(shape.parts))),
        ]
        for n in range(self._reads):
            read = words.read_port()
            m.d.comb += read.addr.eq(getattr(self, f"address_{n}"))
            word = delay(m, read.data, int(self._registered))
            m.d.comb += getattr(self, f"data_{n}").eq(word[: shape.bits])
            if shape.parity:
                m.d.comb += getattr(self, f"wrong_{n}").eq(word[: shape.bits + 1].xor())
        return m
