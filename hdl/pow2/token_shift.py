"""The token shift: the first channels of x from the position before."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import GroupWrite
from hdl.memory.state_banks import StateBanks
from hdl.payloads import values_layout, vector_groups
from mmfree.chip.design import Design

LATENCY = StateBanks.LATENCY + 1


class TokenShift(wiring.Component):
    """What gates and glu read instead of x (docs/arithmetic.md, 19).

    Of each vector the first channels are exchanged for those that the state holds of the position
    before, group by group, in the order in which they come. Words of the state follow one another
    in the order of use, after those of h.

    Ports::

        x         in   GroupWrite      writes of the residual; each group of a vector once, in order
        head      in   1               the head reads the vector that is written: nothing is shifted
        begin     in   1               the token's flag: there is no position before, so 0
        restart   in   1               a token begins
        exchange  out  GroupWrite      x for the next token, with x
        before    in   P x int16       the word there before, StateBanks.LATENCY cycles after it
        write     out  GroupWrite      the vector that is read, LATENCY = 3 cycles after x

    One group per cycle, never stalls. After reset nothing is written.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        x_groups = vector_groups(design, design.embedding_tiles)
        super().__init__(
            {
                "x": In(GroupWrite(design, x_groups)),
                "head": In(1),
                "begin": In(1),
                "restart": In(1),
                "exchange": Out(GroupWrite(design, design.kept_words)),
                "before": In(values_layout(design, design.post_width)),
                "write": Out(GroupWrite(design, x_groups)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design, x, exchange, write = self._design, self.x, self.exchange, self.write
        groups, width = design.shift_groups, design.post_width
        # The last group may have channels that stay where they are.
        tail = (1 << design.token_shift - (groups - 1) * width) - 1
        lanes = Signal(width)
        m.d.comb += lanes.eq(Mux(x.group == groups - 1, tail, ~0))
        # Cycle 0: a group of x, and where its channels of the position before are.
        address = Signal(range(design.kept_words + 1), init=design.state_words)
        with m.If(self.restart):
            m.d.sync += address.eq(design.state_words)
        with m.Elif(exchange.enable):
            m.d.sync += address.eq(address + 1)
        m.d.comb += [
            exchange.group.eq(address),
            exchange.data.eq(x.data),
            exchange.keep.eq(x.keep & lanes),
            exchange.enable.eq(x.enable & ~self.head & (x.group < groups)),
        ]
        # Cycle 2: they are there. Cycle 3: the group that is read.
        age = StateBanks.LATENCY
        shifted = delay(m, Mux(exchange.enable, lanes, 0), age)
        values = delay(m, x.data, age)
        m.d.sync += [
            write.group.eq(delay(m, x.group, age)),
            write.keep.eq(delay(m, x.keep, age)),
            write.enable.eq(delay(m, x.enable, age, reset=True)),
        ]
        for p in range(width):
            before = Mux(self.begin, 0, self.before[p])
            m.d.sync += write.data[p].eq(Mux(shifted[p], before, values[p]))
        return m
