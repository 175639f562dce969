"""Size of the vector that is being written, which gives the quantizer's shift."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import GroupWrite
from hdl.payloads import START_CYCLES, vector_groups
from hdl.pow2.quantizer import bit_length, magnitude
from mmfree.chip.design import Design
from mmfree.contract.pow2 import VALUE_BITS


class VectorSize(wiring.Component):
    """The shift 15 - b of a vector (docs/arithmetic.md, 5), found while its values are written.

    Ports::

        x      in   GroupWrite  writes of the residual; values that it does not keep do not count
        u      in   GroupWrite  likewise, of u
        load   in   1           the reading segment begins: START_CYCLES before its size counts
        shift  out  4           15 - b, stable from START_CYCLES + 1 after load until the next

    One group of each per cycle, never stalls. After reset the shift is 0.
    """

    def __init__(self, design: Design) -> None:
        assert design.value_bits == VALUE_BITS, "a size of 0 to 15 bits gives the shift"
        x_groups = vector_groups(design, design.embedding_tiles)
        super().__init__(
            {
                "x": In(GroupWrite(design, x_groups)),
                "u": In(GroupWrite(design, vector_groups(design, design.max_tiles))),
                "load": In(1),
                "shift": Out(4),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        writes: list[Any] = [self.x, self.u]
        sizes = [
            magnitude(list(write.data), [write.enable & keep for keep in write.keep])
            for write in writes
        ]
        written = Signal(15)
        size = Signal(15)
        m.d.sync += [written.eq(reduce(or_, sizes)), size.eq(size | written)]
        with m.If(delay(m, self.load, START_CYCLES, reset=True)):
            m.d.sync += [size.eq(0), self.shift.eq(15 - bit_length(m, size))]
        return m
