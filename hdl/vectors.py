"""Vector memories: written by elements, read by words."""

from __future__ import annotations

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out


def vector_write(columns: int, words: int) -> wiring.Signature:
    """Write port of a vector memory: word address, C flags, C int16; also the tap that a testbench watches."""
    return wiring.Signature(
        {
            "address": Out(range(words)),
            "enable": Out(columns),
            "data": Out(data.ArrayLayout(signed(16), columns)),
        }
    )


class VectorMemory(wiring.Component):
    """``words`` words of C int16 elements with one write and one read port.

    Ports: ``write`` (takes effect for reads one cycle later), ``read_address``; ``read_data`` (C int16) one cycle later. Contents are undefined until written.
    """

    def __init__(self, columns: int, words: int) -> None:
        self._columns, self._words = columns, words
        super().__init__(
            {
                "write": In(vector_write(columns, words)),
                "read_address": In(range(words)),
                "read_data": Out(data.ArrayLayout(signed(16), columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = memory.Memory(
            shape=unsigned(16 * self._columns), depth=self._words, init=[]
        )
        write = words.write_port(granularity=16)
        read = words.read_port()
        m.d.comb += [
            write.addr.eq(self.write.address),
            write.en.eq(self.write.enable),
            write.data.eq(self.write.data.as_value()),
            read.addr.eq(self.read_address),
            self.read_data.as_value().eq(read.data),
        ]
        return m
