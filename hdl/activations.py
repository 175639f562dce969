"""Activations: the vector that a segment reads, quantized on its first passing and kept for the others."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.decoder import Decoder
from hdl.pipeline import delay
from hdl.quantizer import LATENCY as QUANTIZER_LATENCY
from hdl.quantizer import Quantizer
from hdl.sequencer import BEAT
from hdl.weight_source import LATENCY as SOURCE_LATENCY
from mmfree.design import Design

_Q_STAGE = 1 + QUANTIZER_LATENCY  # vector memory, quantizer
LATENCY = _Q_STAGE + 1
assert LATENCY == SOURCE_LATENCY + Decoder.LATENCY


class Activations(wiring.Component):
    """Delivers the activations of each tile, LATENCY = 4 cycles after its beat.

    In a segment's first row block (``beat.fresh``) tiles come from the vector memory through the quantizer, and are kept; afterwards they are read back.

    Ports: ``beat``, ``tile``; ``u`` (the vector memory's word, one cycle after ``tile``); ``shift`` (15 - b), ``tail`` (elements of the vector's last word),
    ``tiles``, all steady during a segment; ``x`` (C int8) with ``o_beat``; ``fresh`` with ``q``: words for RMSNorm, a cycle earlier; ``saturated`` (C flags).
    A word read back must have been quantized at least 2 cycles before. One tile per cycle; never stalls.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        columns = design.columns
        words = data.ArrayLayout(signed(8), columns)
        super().__init__(
            {
                "beat": In(BEAT),
                "tile": In(range(design.max_tiles)),
                "u": In(data.ArrayLayout(signed(16), columns)),
                "shift": In(4),
                "tail": In(range(columns + 1)),
                "tiles": In(range(design.max_tiles + 1)),
                "x": Out(words),
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
        m.submodules.kept = kept = memory.Memory(
            shape=unsigned(8 * columns), depth=max(2, self._design.max_tiles), init=[]
        )
        write, read = kept.write_port(), kept.read_port()
        beats, tiles = [self.beat], [self.tile]
        for _ in range(LATENCY):
            beats.append(delay(m, beats[-1], 1, reset=True))
            tiles.append(delay(m, tiles[-1], 1))
        # Cycle 1: the vector memory has answered; elements beyond the vector are masked.
        last_tile = tiles[1] == self.tiles - 1
        for c in range(columns):
            m.d.comb += quantizer.keep[c].eq(~last_tile | (c < self.tail))
        m.d.comb += [quantizer.u.eq(self.u), quantizer.shift.eq(self.shift)]
        # Cycle 2: address of a word to read back; cycle 3: both are there.
        fresh = beats[_Q_STAGE].valid & beats[_Q_STAGE].fresh
        m.d.comb += [
            read.addr.eq(tiles[_Q_STAGE - 1]),
            write.addr.eq(tiles[_Q_STAGE]),
            write.data.eq(quantizer.q.as_value()),
            write.en.eq(fresh),
            self.q.eq(quantizer.q),
            self.fresh.eq(beats[_Q_STAGE]),
            self.fresh.valid.eq(fresh),
            self.saturated.eq(Mux(fresh, quantizer.saturated, 0)),
        ]
        chosen = Signal(8 * columns, reset_less=True)
        m.d.sync += chosen.eq(Mux(beats[_Q_STAGE].fresh, quantizer.q.as_value(), read.data))
        m.d.comb += [self.x.as_value().eq(chosen), self.o_beat.eq(beats[LATENCY])]
        return m
