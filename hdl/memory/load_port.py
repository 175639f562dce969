"""Load port: a host writes the image of a tape, tables included, at run time."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import technology_of
from hdl.memory.loaded_memory import LoadWrite
from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOAD_BITS, LOADED_MEMORIES, loaded_shape

SETTLE_CYCLES = 12
"""Cycles after which a word that was written is read; also by the last group, with its parity."""


class LoadPort(wiring.Component):
    """Writes parts of words into the memories LOADED_MEMORIES, one per cycle.

    Ports: ``enable``, ``memory`` (index in LOADED_MEMORIES), ``word``, ``part``, ``data``; ``busy``
    (a token is being played): a write then is refused, nothing is changed, and ``refused`` is 1
    from two cycles later on until the next write that is accepted; likewise a word or part beyond
    the memory. ``to_MEMORY``: the writes, two cycles later. ``settling``: a write was accepted less
    than SETTLE_CYCLES ago, and what is read may be older. After reset ``refused`` and ``settling``
    are 0.
    """

    def __init__(self, design: Design) -> None:
        self._shapes = {name: loaded_shape(design, name) for name in LOADED_MEMORIES}
        words = max(shape.depth for shape in self._shapes.values())
        parts = max(shape.parts for shape in self._shapes.values())
        super().__init__(
            {
                "enable": In(1),
                "memory": In(range(len(LOADED_MEMORIES))),
                "word": In(range(words + 1)),
                "part": In(range(parts + 1)),
                "data": In(LOAD_BITS),
                "busy": In(1),
                "refused": Out(1),
                "settling": Out(1),
                **{f"to_{name}": Out(LoadWrite(shape)) for name, shape in self._shapes.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology = technology_of(platform)
        fits, left = Signal(), Signal(range(SETTLE_CYCLES + 1))
        with m.If(delay(m, self.enable, 1, reset=True)):
            m.d.sync += left.eq(SETTLE_CYCLES)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += self.settling.eq((left != 0) | self.enable)
        enable, busy = delay(m, self.enable, 1, reset=True), delay(m, self.busy, 1, reset=True)
        memory, word, part, values = (
            delay(m, value, 1) for value in (self.memory, self.word, self.part, self.data)
        )
        with m.If(enable):
            m.d.sync += self.refused.eq(busy | ~fits)
        # The weights' memories are all over the chip, far from the others: they have registers of
        # their own.
        near, far = copies(m, technology, Cat(word, part, values), 2)
        for index, (name, shape) in enumerate(self._shapes.items()):
            write = getattr(self, f"to_{name}")
            with m.If(memory == index):
                m.d.comb += fits.eq((word < shape.depth) & (part < shape.parts))
            m.d.sync += write.enable.eq(enable & (memory == index) & fits & ~busy)
            own = far if name == "weights" else near
            m.d.comb += [
                write.word.eq(own[: len(word)]),
                write.part.eq(own[len(word) :][: len(part)]),
                write.data.eq(own[len(word) + len(part) :]),
            ]
        return m
