"""Activations: the vector that a segment reads, quantized on the first pass and then kept."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import REACH, Timed, copies, delay, num_copies
from hdl.fabric.technology import technology_of
from hdl.interface import CurrentSegment, Tiles, VectorRead
from hdl.memory.vectors import VectorMemory, word_memory
from hdl.payloads import BEAT, OUTPUT_KIND
from hdl.pow2.quantizer import LATENCY as QUANTIZER_LATENCY
from hdl.pow2.quantizer import Quantizer
from mmfree.chip.design import Design
from mmfree.contract.pow2 import VALUE_BITS

MASKED = VectorMemory.LATENCY + 1
QUANTIZED = MASKED + QUANTIZER_LATENCY
LATENCY = QUANTIZED + 2
"""Cycles, counted from the beat: a tile is at the quantizer's input, after vector memory, choice
and mask; it is quantized; it leaves.
"""


class Activations(wiring.Component):
    """The activations of each tile, LATENCY = 8 cycles after its beat.

    In a segment's first row block (``beat.fresh``) the quantizer writes each tile into a memory of
    words of int8. Every tile is read from there, the first time in the cycle after it was written:
    so every row block has the same latency.

    Ports::

        beat       in   BEAT            of a tile: cycle 0
        tile       in   range(tiles)    its number, with beat
        segment    in   CurrentSegment  tells which vector is read, and where its last word ends
        x          out  VectorRead      words of C values of the residual
        u          out  VectorRead      words of C values that o and down read
        shift      in   4               15 - b, stable from two cycles after a segment's first beat
        tiles      out  Tiles           int8 for the array, LATENCY cycles after beat
        fresh      out  Tiles           those quantized now, for RMSNorm, two cycles earlier
        saturated  out  C               flags: an element was clamped; with fresh

    One tile per cycle; never stalls. After reset no tile is valid.
    """

    def __init__(self, design: Design) -> None:
        assert design.value_bits == VALUE_BITS, "the quantizer takes values of the contract"
        self._design = design
        columns = design.columns
        super().__init__(
            {
                "beat": In(BEAT),
                "tile": In(range(design.max_tiles)),
                "segment": In(CurrentSegment(design)),
                "x": Out(VectorRead(design, design.embedding_tiles, columns)),
                "u": Out(VectorRead(design, design.max_tiles, columns)),
                "shift": In(4),
                "tiles": Out(Tiles(design)),
                "fresh": Out(Tiles(design)),
                "saturated": Out(columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        columns, header = self._design.columns, self.segment.header
        m.submodules.quantizer = quantizer = Quantizer(columns)
        m.submodules.kept = kept = word_memory(8 * columns, self._design.max_tiles)
        write, read = kept.write_port(), kept.read_port()
        beats = Timed(m, self.beat, last=LATENCY, reset=True)
        tiles = Timed(m, self.tile, last=QUANTIZED + 1)
        # Cycle 0: a word of either vector is asked for.
        m.d.comb += [self.x.address.eq(self.tile), self.u.address.eq(self.tile)]
        # Only o and down read u.
        reads_u = Signal()
        m.d.sync += reads_u.eq(header.kind == OUTPUT_KIND)
        chosen = copies(m, technology_of(platform), reads_u, num_copies(columns))
        in_tail = Signal(columns)
        dropped = Signal(columns)
        m.d.sync += [in_tail[c].eq(c < header.tail) for c in range(columns)]
        m.d.sync += dropped.eq(Mux(beats.at(MASKED - 2).last, ~in_tail, 0))
        # Cycle MASKED - 1: the vector memories have answered; elements after the vector's end
        # become 0.
        for c in range(columns):
            masked = Signal(signed(VALUE_BITS), reset_less=True, name=f"masked_{c}")
            value = Mux(chosen[c // REACH], self.u.data[c], self.x.data[c])
            m.d.sync += masked.eq(Mux(dropped[c], 0, value))
            m.d.comb += quantizer.u[c].eq(masked)
        m.d.comb += quantizer.shift.eq(self.shift)
        # Cycle QUANTIZED: a new word is written.
        before = beats.at(QUANTIZED - 1)
        fresh = delay(m, before.valid & before.fresh, 1, reset=True)
        m.d.comb += [
            write.addr.eq(tiles.at(QUANTIZED)),
            write.data.eq(quantizer.q.as_value()),
            write.en.eq(fresh),
            self.fresh.x.eq(quantizer.q),
            self.fresh.beat.eq(beats.at(QUANTIZED)),
            self.fresh.beat.valid.eq(fresh),
            self.saturated.eq(Mux(fresh, quantizer.saturated, 0)),
        ]
        # Cycle QUANTIZED + 1: it can be read. Cycle LATENCY: it leaves.
        m.d.comb += [
            read.addr.eq(tiles.at(QUANTIZED + 1)),
            self.tiles.x.as_value().eq(read.data),
            self.tiles.beat.eq(beats.at(LATENCY)),
        ]
        return m
