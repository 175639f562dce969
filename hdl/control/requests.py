"""Requests: one token to play, or a text to generate from the chip's own choices."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.payloads import (
    TEMPERATURE_BITS,
    chosen_layout,
    request_layout,
    result_layout,
    token_layout,
)
from mmfree.chip.design import Design


class Requests(wiring.Component):
    """Turns requests into tokens for the sequencer, and chosen rows into results.

    Ports::

        request      in   stream of request_layout  what a host asks for
        result       out  stream of result_layout   a chosen row, in the cycle in which it comes
        cancel       in   1                         flag: the request in progress ends early
        play         out  stream of token_layout    the token to play, to the sequencer
        chosen       in   stream of chosen_layout   what it chose, while its token is in progress
        failed       in   1                         flag: the pass was withheld, its fault is taken
        temperature  out  uint8                     in 64ths, of the request in progress

    A first token passes in the cycle in which its request comes; a chosen one is fed back in the
    cycle after its result was taken. A request ends with its last result or with ``failed``, and
    only then is the next one taken.

    ``cancel`` ends the request in progress with the first result that is offered after it: the
    token in progress is the last. A result that is offered already, also in that very cycle, stays
    as it is; if it is not the last, one more token is played. A fault that comes before ends the
    request, and with it what was cancelled: the next one is played in full. While no request is in
    progress, also in the cycle in which one is taken, ``cancel`` has no effect.

    After reset no request is in progress.
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(design))),
                "result": Out(stream.Signature(result_layout(design))),
                "cancel": In(1),
                "play": Out(stream.Signature(token_layout(design))),
                "chosen": In(stream.Signature(chosen_layout(design))),
                "failed": In(1),
                "temperature": Out(TEMPERATURE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, play, result, row = self.request, self.play, self.result, self.chosen.payload.row
        asked = Signal.like(request.payload)
        active = Signal()
        again = Signal()
        # A cancel is remembered at once, and heeded when no result waits: what is offered must not
        # change.
        cancelled = Signal()
        ending = Signal()
        last = (asked.limit <= 1) | (asked.stops & (row == asked.stop)) | ending
        m.d.comb += [
            request.ready.eq(play.ready & ~active),
            play.valid.eq(again | (request.valid & ~active)),
            play.payload.eq(request.payload.token),
            result.valid.eq(self.chosen.valid),
            self.chosen.ready.eq(result.ready),
            result.payload.row.eq(row),
            result.payload.last.eq(last),
            self.temperature.eq(asked.temperature),
        ]
        with m.If(active):
            m.d.comb += play.payload.eq(asked.token)
        with m.If(self.cancel):
            m.d.sync += cancelled.eq(1)
        with m.If(~result.valid | result.ready):
            m.d.sync += ending.eq(cancelled | self.cancel)
        # What is offered is registered whether it is taken or not: the enable needs no handshake.
        with m.If(~active):
            m.d.sync += [asked.eq(request.payload), cancelled.eq(0), ending.eq(0)]
        with m.If(request.valid & request.ready):
            m.d.sync += active.eq(1)
        with m.If(again & play.ready):
            m.d.sync += again.eq(0)
        with m.If(active & result.valid):
            m.d.sync += [asked.token.id.eq(row), asked.token.begin.eq(0)]
        with m.If(result.valid & result.ready):
            m.d.sync += [asked.limit.eq(asked.limit - 1), again.eq(~last), active.eq(~last)]
        with m.If(self.failed):
            m.d.sync += active.eq(0)
        return m
