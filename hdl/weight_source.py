"""Where weights come from: words in the order of the image."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.loaded_memory import LoadedMemory, load_write
from hdl.pipeline import delay
from mmfree.design import LoadedShape

LATENCY = 3
"""Cycles from ``take`` to ``data``, for every source: with the decoder, as long as the activations take."""


class WeightSource(wiring.Signature):
    """Interface of a source, seen from the reader.

    ``available``: the next word may be taken in this cycle. ``take``: do so (only when available); ``data`` is that word LATENCY cycles later, for one cycle.
    ``restart``: the next word is the image's first again; not in the same cycle as ``take``.
    """

    def __init__(self, word_bits: int) -> None:
        super().__init__(
            {
                "available": In(1),
                "take": Out(1),
                "restart": Out(1),
                "data": In(word_bits),
            }
        )


class BlockSource(wiring.Component):
    """Weights in block RAM, always available; ``pause`` holds them back (for tests of slower sources).

    Ports: ``words`` (WeightSource, seen from the source), ``pause``, ``load``. After reset the next word is the first.
    """

    def __init__(self, shape: LoadedShape) -> None:
        self._depth = shape.depth
        self.weights = LoadedMemory("weights", shape, registered=True)
        super().__init__(
            {"words": In(WeightSource(shape.bits)), "pause": In(1), "load": In(load_write(shape))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = self.weights
        wiring.connect(m, wiring.flipped(self.load), self.weights.load)
        # Cycle 0: the order; cycle 1: address; cycle 2: the memory answers; cycle 3: its output register.
        take = delay(m, self.words.take, 1, reset=True)
        restart = delay(m, self.words.restart, 1, reset=True)
        address = Signal(range(self._depth + 1))
        with m.If(restart):
            m.d.sync += address.eq(0)
        with m.Elif(take):
            m.d.sync += address.eq(address + 1)
        m.d.comb += [
            self.weights.address_0.eq(address),
            self.words.available.eq(~self.pause),
            self.words.data.eq(self.weights.data_0),
        ]
        return m
