"""An AXI4 read master that keeps a ring filled with the beats of a region."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hdl.memory.sources.axi_read import INCREMENTING, OKAY, AxiRead, beat_layout
from hdl.memory.sources.ring import Ring
from mmfree.chip.external_memory import ADDRESS_BITS, PAGE_BYTES


class BurstReader(wiring.Component):
    """Beats of consecutive addresses, in order: ``beats`` of them, or, if it ``repeats``, these
    again and again.

    Bursts of ``burst`` beats, the region's last one shorter. A burst is asked for only when the
    ring has room for all of it, so every beat is taken at once (RREADY is 1), and as many bursts
    are under way as the ring has room for. The region begins at a multiple of a whole burst's
    bytes, a power of two, so no burst crosses a page of 4 KB. Beats are counted: RLAST is not
    looked at, and a beat that was not asked for is dropped.

    Ports::

        axi      out  AxiRead               bus: the master
        start    in   40                    first byte of the region; stable while not stop
        last     in   range(beats)          beats of the region, minus 1; stable while not stop
        stop     in   1                     sync: ask for no more, and forget what is in the ring
        stopped  out  1                     sync: that is done, and nothing is under way
        clear    in   1                     sync: see Ring; while stopped
        level    out  range(depth + 1)      sync: beats that may be taken
        take     in   1                     sync: take the next one
        beat     out  beat_layout           sync: it, LATENCY cycles after take, until the next

    The registers of the bus's clock are reset with it alone, together with what is at the other end
    of ``axi``. So a chip that is reset finds the reader as it was: stopped it first waits for the
    beats that are under way. After a reset of the bus it is stopped, and stays so until it has seen
    ``stop`` rise and fall. ``stop`` must stay for some cycles (Handshake).
    """

    LATENCY = Ring.LATENCY

    def __init__(self, bits: int, beats: int, *, depth: int, burst: int, repeats: bool) -> None:
        self._bytes = bits // 8
        assert burst & (burst - 1) == 0, f"a burst of {burst} beats has no alignment"
        assert burst * self._bytes <= PAGE_BYTES, f"a burst of {burst} beats crosses a page"
        self._burst, self._repeats = burst, repeats
        self.ring = Ring(beat_layout(bits), depth, burst)
        super().__init__(
            {
                "axi": Out(AxiRead(bits)),
                "start": In(ADDRESS_BITS),
                "last": In(range(max(2, beats))),
                "stop": In(1),
                "stopped": Out(1),
                "clear": In(1),
                "level": Out(self.ring.level.shape()),
                "take": In(1),
                "beat": Out(beat_layout(bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = self.ring
        axi = self.axi
        m.d.comb += [
            axi.arsize.eq((self._bytes - 1).bit_length()),
            axi.arburst.eq(INCREMENTING),
            axi.rready.eq(1),
            ring.write.eq(axi.rvalid),
            ring.i.data.eq(axi.rdata),
            ring.i.response.eq(axi.rresp != OKAY),
            self.level.eq(ring.level),
            ring.take.eq(self.take),
            ring.clear.eq(self.clear),
            self.beat.eq(ring.o),
        ]
        stop = Signal()
        stopped = Signal(init=1)
        m.submodules.stop = FFSynchronizer(self.stop, stop, o_domain="bus")
        m.submodules.stopped = FFSynchronizer(stopped, self.stopped, o_domain="sync")

        load = Signal()
        rewind = Signal()
        step = Signal()
        size, ended = self._walk(m, load, rewind, step)
        with m.FSM(domain="bus"):
            with m.State("RESET"), m.If(stop):
                m.next = "STOPPED"
            with m.State("STOPPED"):
                m.d.comb += ring.zero.eq(1)
                with m.If(~stop):
                    m.d.comb += load.eq(1)
                    m.d.bus += stopped.eq(0)
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += rewind.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(stop):
                    m.next = "DRAIN"
                with m.Elif(ring.room & ~ended):
                    m.d.comb += ring.ask.eq(size)
                    m.d.bus += axi.arvalid.eq(1)
                    m.next = "ASK"
            # The ring counts the promise meanwhile, before RUN asks whether there is room.
            with m.State("ASK"), m.If(axi.arready):
                m.d.comb += step.eq(1)
                m.d.bus += axi.arvalid.eq(0)
                m.next = "RUN"
            with m.State("DRAIN"), m.If(~ring.awaited):
                m.d.bus += stopped.eq(1)
                m.next = "STOPPED"
        return m

    def _walk(self, m: Module, load: Value, rewind: Value, step: Value) -> tuple[Value, Value]:
        """Address and length of the next burst; returned: its beats, and whether there is none.

        ``load``: take over what the chip says, which may change as soon as it has raised ``stop``.
        ``rewind``: to the first burst. ``step``: to the next one.
        """
        address_bits = (self._burst * self._bytes).bit_length() - 1
        size_bits = self._burst.bit_length() - 1
        region = Signal.like(self.start[address_bits:])
        last_beat = Signal.like(self.last)
        with m.If(load):
            m.d.bus += [region.eq(self.start[address_bits:]), last_beat.eq(self.last)]
        # Bursts after this one; the region's last one has `tail` beats and one more.
        last_burst, tail = last_beat[size_bits:], last_beat[:size_bits]
        address = Signal.like(region)
        left = Signal.like(last_burst)
        final = Signal()
        ended = Signal()
        with m.If(rewind | (step & final)):
            m.d.bus += [address.eq(region), left.eq(last_burst), final.eq(last_burst == 0)]
        with m.Elif(step):
            m.d.bus += [address.eq(address + 1), left.eq(left - 1), final.eq(left == 1)]
        if not self._repeats:
            with m.If(rewind | step):
                m.d.bus += ended.eq(final & ~rewind)
        m.d.comb += [
            self.axi.araddr.eq(Cat(Const(0, address_bits), address)),
            self.axi.arlen.eq(Mux(final, tail, self._burst - 1)),
        ]
        return Mux(final, tail + 1, self._burst), ended
