"""Size of the vector that is being written, which gives the quantizer's shift."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import START_CYCLES
from hdl.pow2.quantizer import bit_length, magnitude


class VectorSize(wiring.Component):
    """The shift 15 - b of a vector (docs/arithmetic.md, 5), found while its values are written.

    Ports: ``x``, ``u`` (the writes of the two vectors; values that do not belong to them do not
    count); ``load`` (the header of the segment that reads the vector is new: the size is complete,
    and taken over, START_CYCLES later); ``shift`` (0..15), stable from a cycle after that until the
    next. After reset 0.
    """

    def __init__(self, x: wiring.Signature, u: wiring.Signature) -> None:
        super().__init__({"x": In(x), "u": In(u), "load": In(1), "shift": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        writes: list[Any] = [self.x, self.u]
        sizes = [
            magnitude(list(write.data), [write.enable & keep for keep in write.keep])
            for write in writes
        ]
        written, size = Signal(15), Signal(15)
        m.d.sync += [written.eq(reduce(or_, sizes)), size.eq(size | written)]
        with m.If(delay(m, self.load, START_CYCLES, reset=True)):
            m.d.sync += [size.eq(0), self.shift.eq(15 - bit_length(m, size))]
        return m
