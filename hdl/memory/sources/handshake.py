"""How the chip stops readers of another clock, and starts them again."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

QUIET_CYCLES = 64
"""Cycles after which a level has crossed to a clock of at least a quarter of the chip's, and back.

And within which the words that were taken from a ring have come out of it.
"""


class Handshake(wiring.Component):
    """Stops ``readers`` BurstReaders, clears their rings, and starts them together.

    ::

        state    | RUN | QUIET | DRAIN | CLEAR | READY | START | RUN
        again    |__/1\\|_______|_______|_______|_______|_______|____
        stop     |_____|1      |1      |1      |1      |_______|____
        stopped  |_____|_______|___/1  |1      |1      |1  \\___|____
        clear    |_____|_______|_______|1      |_______|_______|____

    QUIET, CLEAR and at most START take QUIET_CYCLES. All levels are held for longer than they take
    to cross, so neither a reset of the chip nor one of the bus, at any time, is mistaken for a step
    of the other side. The bus's clock has a quarter to four times the chip's frequency.

    Ports::

        again    in   1        stop, and start over; at any time
        enable   in   1        there is something to read: begin
        stopped  in   readers  flags of the readers
        stop     out  1        to the readers
        clear    out  1        to the rings; anything but a level of their words is lost
        running  out  1        what is in the rings has been read since the last start
        lost     out  1        instead of running: a reader's bus was reset

    After reset it stops the readers, whatever they were doing.
    """

    def __init__(self, readers: int) -> None:
        super().__init__(
            {
                "again": In(1),
                "enable": In(1),
                "stopped": In(readers),
                "stop": Out(1, init=1),
                "clear": Out(1),
                "running": Out(1),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cycles = Signal(range(QUIET_CYCLES))
        over = cycles == QUIET_CYCLES - 1
        all_stopped, none_stopped = self.stopped.all(), ~self.stopped.any()

        def stop_if(condition: Value) -> None:
            with m.If(condition):
                m.d.sync += [self.stop.eq(1), cycles.eq(0)]
                m.next = "QUIET"

        m.d.sync += cycles.eq(cycles + 1)
        with m.FSM():
            with m.State("QUIET"):
                with m.If(over):
                    m.next = "DRAIN"
                stop_if(self.again)
            with m.State("DRAIN"):
                m.d.sync += cycles.eq(0)
                with m.If(all_stopped):
                    m.next = "CLEAR"
                stop_if(self.again)
            with m.State("CLEAR"):
                m.d.comb += self.clear.eq(1)
                with m.If(over):
                    m.next = "READY"
                stop_if(self.again)
            with m.State("READY"):
                m.d.sync += cycles.eq(0)
                with m.If(self.enable):
                    m.d.sync += self.stop.eq(0)
                    m.next = "START"
                stop_if(self.again)
            with m.State("START"):
                with m.If(none_stopped):
                    m.next = "RUN"
                # The bus was reset just now, and its readers wait for another stop.
                stop_if(self.again | (over & ~none_stopped))
            with m.State("RUN"):
                m.d.comb += [self.running.eq(none_stopped), self.lost.eq(~none_stopped)]
                stop_if(self.again)
        return m
