"""Rows of the embedding from an external memory, each when its token is played."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.interface import EmbeddingRow, MemorySettings
from hdl.memory.sources.axi_read import AxiRead, beat_layout
from hdl.memory.sources.burst_reader import BurstReader
from hdl.memory.sources.handshake import Handshake
from hdl.memory.sources.settings import Settings
from hdl.memory.sources.watchdog import TIMEOUT_CYCLES, Watchdog
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ROW_BYTES
from mmfree.chip.memory_map import row_beats, row_bytes

RING_BEATS = 64
"""Beats of the ring: as many are under way."""


class RowSource(wiring.Component):
    """The beats of a row of the embedding, in order: its tiles and its check word.

    Row v begins v times ``row_bytes`` after the region. Its number times that constant is a sum of
    the number's shifts, one for each bit of the constant, a cycle each.

    A row whose beat does not come for ``timeout`` cycles is given up, as it is if the bus is reset:
    the beats that it lacks are anything, at full speed. What becomes of it is not decided here.

    Ports::

        row       in   EmbeddingRow           the order to read a row; none while one is read
        settings  in   MemorySettings         entry G; only while no token is played
        playing   in   1                      a token is in progress: beats are waited for
        axi       out  AxiRead                of the clock "bus"
        beats     out  stream of beat_layout  ``row_beats`` for each order
        timeout   out  1                      the row is given up; one cycle

    A beat per cycle, if the memory has as many. After a row the reader is stopped again and its
    ring cleared, some QUIET_CYCLES, before the next one is read. The bus's clock has a quarter to
    four times the chip's frequency. After reset no row is read, and what was under way before is
    awaited and dropped.
    """

    def __init__(self, design: Design, timeout: int = TIMEOUT_CYCLES) -> None:
        external = design.external
        assert external is not None
        self._design, self._timeout = design, timeout
        # Whole pieces of ROW_BYTES are read: what a row does not fill is dropped with the ring.
        self._read_beats = row_bytes(design) // external.port_bytes
        self.reader = BurstReader(
            external.port_bits,
            self._read_beats,
            depth=RING_BEATS,
            burst=ROW_BYTES // external.port_bytes,
            repeats=False,
        )
        super().__init__(
            {
                "row": In(EmbeddingRow(design)),
                "settings": In(MemorySettings(design)),
                "playing": In(1),
                "axi": Out(AxiRead(external.port_bits)),
                "beats": Out(stream.Signature(beat_layout(external.port_bits))),
                "timeout": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self.reader
        m.submodules.handshake = handshake = Handshake(1)
        m.submodules.settings = settings = Settings(self._design)
        wiring.connect(m, wiring.flipped(self.settings), settings.write)
        wiring.connect(m, wiring.flipped(self.axi), reader.axi)
        region = settings.regions[self._design.num_groups]
        address, found = self._find_row(m, region)
        m.submodules.watchdog = watchdog = Watchdog(self._timeout)
        # Beats of the row that have not been given.
        left = Signal(range(row_beats(self._design) + 1))
        busy = Signal()
        ends = self._offer(m, handshake.running, busy, left == 1, watchdog.gave_up)
        with m.If(self.row.start):
            m.d.sync += [left.eq(row_beats(self._design)), busy.eq(1)]
        with m.Elif(self.beats.valid & self.beats.ready):
            m.d.sync += [left.eq(left - 1), busy.eq(~ends)]
        m.d.comb += [
            reader.start.eq(address),
            reader.last.eq(self._read_beats - 1),
            reader.stop.eq(handshake.stop),
            reader.clear.eq(handshake.clear),
            handshake.stopped.eq(reader.stopped),
            handshake.enable.eq(settings.complete & busy & found),
            handshake.again.eq(settings.write.enable | ends),
            watchdog.waiting.eq(self.playing & busy & ~self.beats.valid),
            watchdog.lost.eq(busy & handshake.lost),
            watchdog.again.eq(ends),
            self.timeout.eq(watchdog.timeout),
        ]
        return m

    def _find_row(self, m: Module, region: Value) -> tuple[Signal, Value]:
        """First byte of the row, and whether it is known."""
        pieces = row_bytes(self._design) // ROW_BYTES
        low = (ROW_BYTES - 1).bit_length()
        address = Signal.like(region)
        # The number, shifted by one more bit in each cycle, for the bits that are left.
        term = Signal(len(address) - low)
        bits = Signal(range(pieces + 1))
        with m.If(self.row.start):
            m.d.sync += [address.eq(region), term.eq(self.row.id), bits.eq(pieces)]
        with m.Else():
            m.d.sync += [term.eq(term << 1), bits.eq(bits >> 1)]
            with m.If(bits[0]):
                m.d.sync += address[low:].eq(address[low:] + term)
        return address, bits == 0

    def _offer(self, m: Module, running: Value, busy: Value, last: Value, poisoned: Value) -> Value:
        """Beats from the ring to the stream: one in the RAM's register, and one that is offered.

        Returned: the ``last`` one of the row is taken.
        """
        reader, beats = self.reader, self.beats
        fetched = Signal()
        moves = ~beats.valid | beats.ready
        ends = beats.valid & beats.ready & last
        takes = running & (reader.level != 0) & (~fetched | moves)
        m.d.comb += reader.take.eq(takes)
        m.d.sync += fetched.eq((takes | (fetched & ~moves)) & busy & ~ends)
        with m.If(moves):
            m.d.sync += [
                beats.valid.eq((fetched | poisoned) & busy & ~ends),
                beats.payload.data.eq(reader.beat.data),
                beats.payload.response.eq(reader.beat.response & fetched),
            ]
        return ends
