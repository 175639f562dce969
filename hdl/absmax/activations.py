"""Activations: the vector that a segment reads, quantized for each of its matrices that has gains
of its own, and then kept.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.norm.elements import vector_words
from hdl.absmax.quantizer import LATENCY as QUANTIZER_LATENCY
from hdl.absmax.quantizer import Quantizer
from hdl.fabric.pipeline import Timed, delay
from hdl.interface import CurrentSegment, Tiles, VectorRead
from hdl.memory.vectors import VectorMemory, word_memory
from hdl.payloads import BEAT, CUT, GATES_KIND, values_layout
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT

_ADDRESSED = 1
_READ = _ADDRESSED + VectorMemory.LATENCY
_QUANTIZED = _READ + 1 + QUANTIZER_LATENCY
LATENCY = _QUANTIZED + 2
"""Cycles, counted from the beat: its word is asked for; the word has arrived; it is quantized; the
tile leaves.
"""


class Activations(wiring.Component):
    """The activations of each tile, LATENCY = 18 cycles after its beat.

    When a tile is fresh (``beat.fresh``), the quantizer writes it into a memory of words of int8.
    Every tile is read from there, the first time in the cycle after it was written: so every row
    block has the same latency. Vectors and activations that gates read are in a slot for each
    matrix, all others in slot 0.

    Ports::

        beat     in   BEAT            of a tile: cycle 0
        tile     in   range(tiles)    its number, with beat
        segment  in   CurrentSegment  tells which slots are read, and where the last word ends
        v        out  VectorRead      words of C x CUT, by slot and tile
        largest  in   3 x CUT         of each slot by magnitude, 3 cycles after a fresh beat
        tiles    out  Tiles           int8 for the array, LATENCY cycles after beat

    One tile per cycle; never stalls. After reset no tile is valid.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        words, columns = vector_words(design), design.columns
        super().__init__(
            {
                "beat": In(BEAT),
                "tile": In(range(design.max_tiles)),
                "segment": In(CurrentSegment(design)),
                "v": Out(VectorRead(design, words, columns, CUT)),
                "largest": In(values_layout(design, MATRICES_PER_SEGMENT, CUT)),
                "tiles": Out(Tiles(design)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design, header = self._design, self.segment.header
        columns = design.columns
        m.submodules.quantizer = quantizer = Quantizer(columns)
        m.submodules.kept = kept = word_memory(8 * columns, vector_words(design))
        write, read = kept.write_port(), kept.read_port()
        beats = Timed(m, self.beat, last=LATENCY, reset=True)
        # Cycle 0: the word's number.
        reads_slots = delay(m, header.kind == GATES_KIND, 1)
        slot = Signal(range(MATRICES_PER_SEGMENT))
        m.d.comb += slot.eq(Mux(reads_slots, self.beat.matrix, 0))
        slots = Timed(m, slot, last=_READ)
        bases = Array(n * design.embedding_tiles for n in range(MATRICES_PER_SEGMENT))
        address = Signal.like(self.v.address, reset_less=True)
        m.d.sync += address.eq(self.tile + bases[slot])
        addresses = Timed(m, address, first=_ADDRESSED, last=_QUANTIZED + 1)
        # Cycle _ADDRESSED: the vector memory is asked.
        m.d.comb += self.v.address.eq(address)
        # Cycle _READ: it has answered. Elements after the vector's end become 0.
        in_tail = Signal(columns)
        m.d.sync += [in_tail[c].eq(c < header.tail) for c in range(columns)]
        m.d.comb += quantizer.element.eq(delay(m, self.v.data, 1))
        dropped = Signal(columns, reset_less=True)
        largest = Signal(CUT, reset_less=True)
        m.d.sync += [
            dropped.eq(Mux(beats.at(_READ).last, ~in_tail, 0)),
            # An Array, not an index of the view: Amaranth makes the latter with a $mul cell.
            largest.as_value().eq(Array(one.as_value() for one in self.largest)[slots.at(_READ)]),
        ]
        m.d.comb += [quantizer.dropped.eq(dropped), quantizer.largest.eq(largest)]
        # Cycle _QUANTIZED: a new word is written.
        before = beats.at(_QUANTIZED - 1)
        m.d.comb += [
            write.addr.eq(addresses.at(_QUANTIZED)),
            write.data.eq(quantizer.q.as_value()),
            write.en.eq(delay(m, before.valid & before.fresh, 1, reset=True)),
        ]
        # The next: it can be read. Cycle LATENCY: it leaves.
        m.d.comb += [
            read.addr.eq(addresses.at(_QUANTIZED + 1)),
            self.tiles.x.as_value().eq(read.data),
            self.tiles.beat.eq(beats.at(LATENCY)),
        ]
        return m
