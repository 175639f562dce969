"""Embedding: the row of a token becomes the residual vector."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.loaded_memory import LoadedMemory, load_write
from hdl.pipeline import delay
from mmfree.design import Design


class Embedding(wiring.Component):
    """Rows of int8, shifted up to the residual's format (docs/arithmetic.md, 4), C elements per cycle.

    Ports: ``valid``, ``id``, ``tile``, ``last``; ``shift`` (0..8, steady); LATENCY = 2 cycles later ``o_valid``, ``o_tile``,
    ``o_last`` and ``x`` (C int16); ``load``; ``wrong``: parity of a word that was read, a cycle before.
    One word per cycle; never stalls. After reset ``o_valid`` is 0.
    """

    LATENCY = 2

    def __init__(self, design: Design) -> None:
        self._design = design
        shape = design.loaded_shape("embedding")
        self.words = LoadedMemory("embedding", shape)
        tiles = range(max(2, design.max_tiles))
        super().__init__(
            {
                "valid": In(1),
                "id": In(range(max(2, design.embedding_rows))),
                "tile": In(tiles),
                "last": In(1),
                "shift": In(4),
                "o_valid": Out(1),
                "o_tile": Out(tiles),
                "o_last": Out(1),
                "x": Out(data.ArrayLayout(signed(16), design.columns)),
                "load": In(load_write(shape)),
                "wrong": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, columns = self._design.embedding_rows, self._design.columns
        m.submodules.memory = words = self.words
        wiring.connect(m, wiring.flipped(self.load), words.load)
        read = delay(m, self.valid, 1, reset=True)
        # Word t of row v stands at t * rows + v: the address steps by the number of rows.
        address = Signal(range(rows * self._design.embedding_tiles + rows))
        following = Signal.like(address)
        with m.If(self.tile == 0):
            m.d.comb += address.eq(self.id)
        with m.Else():
            m.d.comb += address.eq(following)
        m.d.sync += following.eq(address + rows)
        m.d.comb += [words.address_0.eq(address), self.wrong.eq(read & words.wrong_0)]
        for c in range(columns):
            element = words.data_0.word_select(c, 8).as_signed()
            m.d.sync += self.x[c].eq(element << self.shift)
        m.d.comb += [
            self.o_valid.eq(delay(m, self.valid, self.LATENCY, reset=True)),
            self.o_last.eq(delay(m, self.last, self.LATENCY)),
            self.o_tile.eq(delay(m, self.tile, self.LATENCY)),
        ]
        return m
