"""Activations: the vector that a segment reads, quantized on the first pass and then kept."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import REACH, copies, delay, num_copies
from hdl.fabric.technology import technology_of
from hdl.interface import BEAT
from hdl.memory.vectors import VectorMemory, word_memory
from hdl.pow2.quantizer import LATENCY as QUANTIZER_LATENCY
from hdl.pow2.quantizer import Quantizer
from mmfree.chip.design import Design

_MASKED = VectorMemory.LATENCY + 1
"""Cycle in which a tile is at the quantizer's input, after vector memory, choice and mask."""

_QUANTIZED = _MASKED + QUANTIZER_LATENCY
LATENCY = _QUANTIZED + 2


class Activations(wiring.Component):
    """The activations of each tile, LATENCY = 8 cycles after its beat.

    In a segment's first row block (``beat.fresh``) the quantizer writes each tile into a memory of
    words of int8. Every tile is read from there, the first time in the cycle after it was written:
    so every row block has the same latency.

    Ports: ``beat``, ``tile``; ``x``, ``u`` (the vector memories' words, VectorMemory.LATENCY after
    ``tile``), ``reads_u`` (which of them the segment reads) and ``tail`` (elements of the vector's
    last word), stable during a segment; ``shift`` (15 - b), stable from two cycles after a
    segment's first beat; ``activations`` (C int8) with ``o_beat``; ``fresh`` with ``q``: words for
    RMSNorm, two cycles earlier; ``saturated`` (C flags). One tile per cycle; never stalls.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        columns = design.columns
        vector = data.ArrayLayout(signed(16), columns)
        words = data.ArrayLayout(signed(8), columns)
        super().__init__(
            {
                "beat": In(BEAT),
                "tile": In(range(design.max_tiles)),
                "x": In(vector),
                "u": In(vector),
                "reads_u": In(1),
                "shift": In(4),
                "tail": In(range(columns + 1)),
                "activations": Out(words),
                "o_beat": Out(BEAT),
                "q": Out(words),
                "fresh": Out(BEAT),
                "saturated": Out(columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        columns = self._design.columns
        m.submodules.quantizer = quantizer = Quantizer(columns)
        m.submodules.kept = kept = word_memory(8 * columns, self._design.max_tiles)
        write, read = kept.write_port(), kept.read_port()
        beats, tiles = [self.beat], [self.tile]
        for _ in range(LATENCY):
            beats.append(delay(m, beats[-1], 1, reset=True))
            tiles.append(delay(m, tiles[-1], 1))
        # The vector memories have answered; elements after the vector's end become 0.
        reads_u = copies(m, technology_of(platform), self.reads_u, num_copies(columns))
        in_tail, dropped = Signal(columns), Signal(columns)
        m.d.sync += [in_tail[c].eq(c < self.tail) for c in range(columns)]
        m.d.sync += dropped.eq(Mux(beats[_MASKED - 2].last, ~in_tail, 0))
        for c in range(columns):
            masked = Signal(signed(16), reset_less=True, name=f"masked_{c}")
            m.d.sync += masked.eq(
                Mux(dropped[c], 0, Mux(reads_u[c // REACH], self.u[c], self.x[c]))
            )
            m.d.comb += quantizer.u[c].eq(masked)
        m.d.comb += quantizer.shift.eq(self.shift)
        # A quantized word is written; a cycle later it can be read.
        fresh = delay(m, beats[_QUANTIZED - 1].valid & beats[_QUANTIZED - 1].fresh, 1, reset=True)
        m.d.comb += [
            read.addr.eq(tiles[_QUANTIZED + 1]),
            write.addr.eq(tiles[_QUANTIZED]),
            write.data.eq(quantizer.q.as_value()),
            write.en.eq(fresh),
            self.q.eq(quantizer.q),
            self.fresh.eq(beats[_QUANTIZED]),
            self.fresh.valid.eq(fresh),
            self.saturated.eq(Mux(fresh, quantizer.saturated, 0)),
        ]
        m.d.comb += [self.activations.as_value().eq(read.data), self.o_beat.eq(beats[LATENCY])]
        return m
