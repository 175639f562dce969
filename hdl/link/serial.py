"""Receiver and transmitter of a serial line: 8 data bits, no parity, one stop bit."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from mmfree.errors import InputError

FRAME_BITS = 10
"""Start bit, eight data bits (the lowest first), stop bit."""

MIN_DIVISOR = 4
"""Fewest cycles of a bit: with four, a start bit is noticed within its first quarter."""


def divisor_for(clock_hz: float, baud: float) -> int:
    """Clock cycles of a bit.

    Raises
    ------
    InputError
        If the clock is too slow, or gives the rate with an error of more than 2 %, which over a
        frame is a fifth of a bit.
    """
    divisor = round(clock_hz / baud)
    if divisor < MIN_DIVISOR or abs(clock_hz / divisor / baud - 1) > 0.02:
        raise InputError(
            f"a clock of {clock_hz / 1e6:g} MHz cannot make {baud:,.0f} baud within 2 %"
        )
    return divisor


class Receiver(wiring.Component):
    """Bytes from a line.

    Ports::

        rx      in   1                the line, of any phase; 1 when idle
        bytes   out  stream of uint8  what was received; valid a cycle after the stop bit's middle
        broken  out  1                flag of a cycle, in place of a byte: one or more were lost

    A byte is lost if its stop bit is missing (a break, or noise; the next frame can begin when the
    line is idle again), or if the one before it has not been taken by then: a line cannot wait.
    ``broken`` keeps its place among the bytes: it comes when all bytes before the lost one have
    been taken, and before any after it. After reset no frame is in progress.
    """

    def __init__(self, divisor: int) -> None:
        assert divisor >= MIN_DIVISOR
        self._divisor = divisor
        super().__init__({"rx": In(1), "bytes": Out(stream.Signature(8)), "broken": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        # Counts to the middle of the next bit.
        timer = Signal(range(self._divisor))
        bits_left = Signal(range(FRAME_BITS))
        shifter = Signal(8)
        # A byte was lost after the one that waits.
        lost = Signal()
        sample = Signal()
        m.d.comb += [sample.eq(timer == 0), self.broken.eq(lost & ~self.bytes.valid)]
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.If(self.broken):
            m.d.sync += lost.eq(0)
        m.d.sync += timer.eq(timer - 1)
        with m.FSM():
            with m.State("IDLE"):
                # Half a bit, less the cycle in which the edge was noticed.
                m.d.sync += [timer.eq(self._divisor // 2 - 1), bits_left.eq(FRAME_BITS - 1)]
                with m.If(~line):
                    m.next = "FRAME"
            with m.State("FRAME"), m.If(sample):
                m.d.sync += [
                    timer.eq(self._divisor - 1),
                    bits_left.eq(bits_left - 1),
                    shifter.eq(Cat(shifter[1:], line)),
                ]
                with m.If((bits_left == FRAME_BITS - 1) & line):  # a glitch, no start bit
                    m.next = "IDLE"
                with m.If(bits_left == 0):
                    with m.If(line & ~lost & (~self.bytes.valid | self.bytes.ready)):
                        m.d.sync += [self.bytes.payload.eq(shifter), self.bytes.valid.eq(1)]
                    with m.Else():
                        m.d.sync += lost.eq(1)
                    m.next = "BROKEN"
                    with m.If(line):
                        m.next = "IDLE"
            with m.State("BROKEN"), m.If(line):
                m.next = "IDLE"
        return m


class Transmitter(wiring.Component):
    """Bytes to a line.

    Ports::

        bytes  in   stream of uint8  what is sent; ready when the stop bit before it has ended
        tx     out  1                the line, a register; 1 when idle

    A start bit begins in the cycle after its byte was taken, and a byte takes FRAME_BITS times the
    divisor, in cycles. After reset the line is idle.
    """

    def __init__(self, divisor: int) -> None:
        assert divisor >= MIN_DIVISOR
        self._divisor = divisor
        super().__init__({"bytes": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self._divisor))
        # The bits that are still to come; the last 1 is the stop bit.
        shifter = Signal(FRAME_BITS - 1)
        bits_left = Signal(range(FRAME_BITS + 1))
        m.d.comb += self.bytes.ready.eq(bits_left == 0)
        with m.If(self.bytes.ready), m.If(self.bytes.valid):
            m.d.sync += [
                self.tx.eq(0),
                shifter.eq(Cat(self.bytes.payload, Const(1, 1))),
                timer.eq(self._divisor - 1),
                bits_left.eq(FRAME_BITS),
            ]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [
                timer.eq(self._divisor - 1),
                bits_left.eq(bits_left - 1),
                self.tx.eq(shifter[0]),
                shifter.eq(Cat(shifter[1:], Const(1, 1))),
            ]
        return m
