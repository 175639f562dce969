"""The residual addition: what o and down give, added to the vector x."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.requantize import saturate
from hdl.interface import GroupWrite, VectorRead
from hdl.memory.vectors import GroupMemory
from hdl.payloads import tag_history, vector_groups
from mmfree.chip.design import Design

SUMMED, WRITTEN = 1, 2
"""Cycles, counted from z's: the sum; the write of it."""


class Residual(wiring.Component):
    """x + y, saturated, for P values; and the way of the embedding to x.

    docs/arithmetic.md, 13; docs/arithmetic_absmax.md, 11. ``ready``: the cycle of z, counted from
    its tag's. ``early``: cycles by which the vector's end is announced.

    Ports::

        tags         in   tag_history      tags[n]: of the P values that are in cycle n
        z            in   P x signed(z)    them, requantized: y, cycle ``ready``
        x            out  VectorRead       the group that they are added to, cycle ``ready``
        embedding    in   GroupWrite       writes of x at a token's start, passed on a cycle later
        write        out  GroupWrite       of x + y, WRITTEN cycles after z
        vector_done  out  1                x is complete: its last value is written ``early`` on
        saturated    out  P                flags: the sum was clamped; with write

    P values per cycle, never stalls. After reset nothing is written.
    """

    def __init__(self, design: Design, *, z_bits: int, ready: int, early: int) -> None:
        self._width, self._bits = design.post_width, design.value_bits
        self._ready, self._early = ready, early
        x_groups = vector_groups(design, design.embedding_tiles)
        super().__init__(
            {
                "tags": In(tag_history(design, ready + max(SUMMED, WRITTEN - early))),
                "z": In(data.ArrayLayout(signed(z_bits), self._width)),
                "x": Out(VectorRead(design, x_groups, self._width)),
                "embedding": In(GroupWrite(design, x_groups)),
                "write": Out(GroupWrite(design, x_groups)),
                "vector_done": Out(1),
                "saturated": Out(self._width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write, embedding = self.write, self.embedding
        tags = self.tags
        # LATENCY cycles before z: the group that is needed with it.
        m.d.comb += self.x.address.eq(tags[self._ready - GroupMemory.LATENCY].group)
        # ``early`` cycles before the write: the vector's end is announced.
        ending = tags[self._ready + WRITTEN - self._early]
        m.d.comb += self.vector_done.eq(ending.valid & ending.role.residual & ending.end)
        # Cycle 0, that of z: the sum. Cycle SUMMED: it is clamped, or the embedding passes.
        tag = tags[self._ready + SUMMED]
        active = tag.valid & tag.role.residual
        m.d.sync += [
            write.group.eq(Mux(active, tag.group, embedding.group)),
            write.enable.eq(Mux(active, tag.keep[0], embedding.enable)),
            write.keep.eq(Mux(active, tag.keep, embedding.keep)),
        ]
        for p in range(self._width):
            total = Signal(signed(self._bits + 1), reset_less=True, name=f"sum_{p}")
            m.d.sync += total.eq(self.z[p] + self.x.data[p])
            value, over = saturate(total, self._bits)
            m.d.sync += [
                write.data[p].eq(Mux(active, value, embedding.data[p])),
                self.saturated[p].eq(active & tag.keep[p] & over),
            ]
        return m
