"""Load port: a host writes the image of a tape, tables included, at run time."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import technology_of
from hdl.interface import LoadAccess
from hdl.memory.loaded_memory import LoadWrite
from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES, loaded_memories, loaded_shape

SETTLE_CYCLES = 12
"""Cycles after which a word that was written is read; also by the last group, with its parity."""


class LoadWrites(wiring.Signature):
    """Writes to the chip's memories, at most one of them enabled; seen from the load port.

    With an external memory weights, embedding and biases are not among them.

    Members::

        weights          out  LoadWrite  a part of a word through all groups of rows
        headers          out  LoadWrite  an entry of the segment table
        embedding        out  LoadWrite  C elements of a row
        biases           out  LoadWrite  P biases
        tables           out  LoadWrite  an entry of the function tables
        reciprocal_root  out  LoadWrite  an entry of the norm's table
        gumbel           out  LoadWrite  an entry of the noise's table
    """

    def __init__(self, design: Design) -> None:
        super().__init__(
            {name: Out(LoadWrite(loaded_shape(design, name))) for name in loaded_memories(design)}
        )


class LoadPort(wiring.Component):
    """Writes parts of words into the chip's memories, one per cycle.

    Ports::

        host      in   LoadAccess   a write; refused also beyond the memory's words, parts or bits
        busy      in   1            a token is being played: a write is refused, nothing is changed
        settling  out  1            a write came less than SETTLE_CYCLES ago: old words may be read
        writes    out  LoadWrites   to the memories, two cycles after host

    One write per cycle, never stalls. ``host.refused`` stays until the next write that is accepted.
    After reset it is 0, and nothing is settling.
    """

    def __init__(self, design: Design) -> None:
        self._shapes = {name: loaded_shape(design, name) for name in loaded_memories(design)}
        super().__init__(
            {
                "host": In(LoadAccess(design)),
                "busy": In(1),
                "settling": Out(1),
                "writes": Out(LoadWrites(design)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology, host = technology_of(platform), self.host
        fits = Signal()
        left = Signal(range(SETTLE_CYCLES + 1))
        enable, busy = delay(m, host.enable, 1, reset=True), delay(m, self.busy, 1, reset=True)
        with m.If(enable):
            m.d.sync += left.eq(SETTLE_CYCLES)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += self.settling.eq(host.enable | enable | (left != 0))
        memory, word, part, values = (
            delay(m, value, 1) for value in (host.memory, host.word, host.part, host.data)
        )
        with m.If(enable):
            m.d.sync += host.refused.eq(busy | ~fits)
        # The weights' memories are all over the chip, far from the others: they have registers of
        # their own.
        near, far = copies(m, technology, Cat(word, part, values), 2)
        for name, shape in self._shapes.items():
            write, index = getattr(self.writes, name), LOADED_MEMORIES.index(name)
            with m.If(memory == index):
                beyond = values[shape.part_bits :].any()
                m.d.comb += fits.eq((word < shape.depth) & (part < shape.parts) & ~beyond)
            m.d.sync += write.enable.eq(enable & (memory == index) & fits & ~busy)
            own = far if name == "weights" else near
            m.d.comb += [
                write.word.eq(own[: len(word)]),
                write.part.eq(own[len(word) :][: len(part)]),
                write.data.eq(own[len(word) + len(part) :]),
            ]
        return m
