"""The state: two banks of channels, one read and one written in a token."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hdl.interface import GroupWrite, StateAccess, VectorRead
from hdl.memory.vectors import as_stored, from_stored, value_memory
from mmfree.chip.design import Design


class StateBanks(wiring.Component):
    """The state in two banks: a token reads the current one and writes the other.

    So the state before a pass with a fault is still there, and the pass can be repeated. ``swap``
    makes the other bank the current one. With a token shift, x is kept beside h.

    Ports::

        playing   in  1            a token is in progress: the ports but host count, otherwise host
        swap      in  1            the other bank becomes the current one
        read      in  VectorRead   of the current bank, LATENCY = 2 cycles after address
        write     in  GroupWrite   to the other bank; padding is written, too
        exchange  in  GroupWrite   token shift: to the other bank; read gives what this one has
        host      in  StateAccess  of the current bank, likewise

    ``exchange`` comes when neither ``read`` nor ``write`` is used. One word per cycle, never
    stalls. Contents are undefined until written; after reset bank 0 is
    the current one.
    """

    LATENCY = 2

    def __init__(self, design: Design) -> None:
        self._design = design
        self._banks = value_memory("banks", design, 2 * max(2, design.kept_words))
        self.memories = (self._banks,)
        assert self._banks.latency == self.LATENCY
        shifts = {"exchange": In(GroupWrite(design, design.kept_words))}
        super().__init__(
            {
                "playing": In(1),
                "swap": In(1),
                "read": In(VectorRead(design, design.state_words, design.post_width)),
                "write": In(GroupWrite(design, design.state_words)),
                "host": In(StateAccess(design)),
                **(shifts if design.token_shift else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = self._banks
        design, enables = self._design, len(memory.write.enable)
        bank = Signal()
        with m.If(self.swap):
            m.d.sync += bank.eq(~bank)
        read_address: Any = self.read.address
        write: Any = self.write
        if design.token_shift:
            exchange = self.exchange
            read_address = Mux(exchange.enable, exchange.group, read_address)
            write = GroupWrite(design, design.kept_words).create()
            drive_with_either(m, write, exchange, self.write)
        address = Mux(self.playing, read_address, self.host.address)
        m.d.comb += [
            memory.read[0].address.eq(Cat(bank, address)),
            self.read.data.as_value().eq(from_stored(design, memory.read[0].data)),
            self.host.data.eq(self.read.data),
        ]
        with m.If(self.playing):
            m.d.comb += [
                memory.write.address.eq(Cat(~bank, write.group)),
                memory.write.data.eq(as_stored(design, write.data)),
                memory.write.enable.eq(write.enable.replicate(enables)),
            ]
        with m.Else():
            m.d.comb += [
                memory.write.address.eq(Cat(bank, self.host.address)),
                memory.write.data.eq(as_stored(design, self.host.write)),
                memory.write.enable.eq(self.host.enable.replicate(enables)),
            ]
        return m


def drive_with_either(m: Module, write: Any, first: Any, second: Any) -> None:
    """Drive a ``GroupWrite`` with that of two which is one in this cycle."""
    for name in first.signature.members:
        mine, other = (Value.cast(getattr(each, name)) for each in (first, second))
        m.d.comb += Value.cast(getattr(write, name)).eq(Mux(first.enable, mine, other))
