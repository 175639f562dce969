"""Requests: one token to play, or a text to generate from the chip's own choices."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.interface import TEMPERATURE_BITS, head_rows, request_layout, result_layout, token_layout
from mmfree.chip.design import Design


class Requests(wiring.Component):
    """Turns requests into tokens for the sequencer, and chosen rows into results.

    Ports: ``request`` (stream in), ``result`` (stream out); ``cancel``: the request in progress
    ends with the token in progress; ``play`` (stream out to the sequencer), ``chosen`` (stream in from
    it: the row); ``failed`` (the pass was withheld: the request is over); ``temperature`` (of the
    request in progress, stable). A first token passes in the cycle in which it comes; a chosen one
    is fed back in the cycle after its result was taken. After reset no request is in progress.
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(design))),
                "result": Out(stream.Signature(result_layout(design))),
                "cancel": In(1),
                "play": Out(stream.Signature(token_layout(design))),
                "chosen": In(stream.Signature(data.StructLayout({"row": head_rows(design)}))),
                "failed": In(1),
                "temperature": Out(TEMPERATURE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, play, result, row = self.request, self.play, self.result, self.chosen.payload.row
        asked = Signal.like(request.payload)
        active, again, cancelled = Signal(), Signal(), Signal()
        last = (asked.limit <= 1) | (asked.stops & (row == asked.stop)) | self.cancel | cancelled
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
        # What is offered is registered whether it is taken or not: the enable needs no handshake.
        with m.If(~active):
            m.d.sync += [asked.eq(request.payload), cancelled.eq(0)]
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
