"""The state: two banks of channels, one read and one written in a token."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.memory.block_memory import BlockMemory
from hdl.memory.vectors import group_write
from mmfree.chip.design import Design


class StateBanks(wiring.Component):
    """The state in two banks: a token reads the current one and writes the other.

    So the state before a pass with a fault is still there, and the pass can be repeated. ``swap``
    makes the other bank the current one.

    Ports: ``playing``: the token's side has access (``address``, ``write``), otherwise a host's
    (``host_address``, ``host_write`` with ``host_enable``), to the current bank; ``values`` (P
    int16), LATENCY = 2 cycles after either address. Contents are undefined until written; after
    reset bank 0 is the current one.
    """

    LATENCY = 2

    def __init__(self, design: Design) -> None:
        self._width = design.post_width
        words = range(max(2, design.state_words))
        values = data.ArrayLayout(signed(16), self._width)
        self._banks = BlockMemory("banks", part_bits=16, parts=self._width, depth=2 * words.stop)
        self.memories = (self._banks,)
        assert self._banks.latency == self.LATENCY
        super().__init__(
            {
                "playing": In(1),
                "swap": In(1),
                "address": In(words),
                "write": In(group_write(self._width, design.state_words)),
                "host_address": In(words),
                "host_write": In(values),
                "host_enable": In(1),
                "values": Out(values),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = self._banks
        bank = Signal()
        with m.If(self.swap):
            m.d.sync += bank.eq(~bank)
        m.d.comb += [
            memory.read[0].address.eq(Cat(bank, Mux(self.playing, self.address, self.host_address))),
            self.values.as_value().eq(memory.read[0].data),
        ]
        with m.If(self.playing):
            m.d.comb += [
                memory.write.address.eq(Cat(~bank, self.write.group)),
                memory.write.data.eq(self.write.data.as_value()),
                memory.write.enable.eq(self.write.enable.replicate(self._width)),
            ]
        with m.Else():
            m.d.comb += [
                memory.write.address.eq(Cat(bank, self.host_address)),
                memory.write.data.eq(self.host_write.as_value()),
                memory.write.enable.eq(self.host_enable.replicate(self._width)),
            ]
        return m
