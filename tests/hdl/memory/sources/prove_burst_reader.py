"""The read master: AXI4's rules whatever the other side does, and each beat asked for in turn.

The clock of the bus is the chip's (prove_ring.py).
"""

from __future__ import annotations

from amaranth.hdl import Mux, Signal

from hdl.memory.sources.burst_reader import BurstReader
from mmfree.chip.external_memory import PAGE_BYTES
from tests.hdl.memory.sources.prove_ring import one_clock
from tests.support.proofs.bench import Bench, Inside, Proof

BITS, DEPTH, BURST, BEATS = 16, 8, 4, 14
BYTES = BITS // 8
BURST_BYTES = BURST * BYTES


def bench_of(*, repeats: bool) -> tuple[Bench, Inside]:
    """A reader whose inputs are all chosen by the solver, but for a region that stays."""
    reader = BurstReader(BITS, BEATS, depth=DEPTH, burst=BURST, repeats=repeats)
    bench = Bench(reader, driven=False)
    one_clock(bench)
    axi = reader.axi
    bench.choose(axi.arready, axi.rdata, axi.rresp, axi.rlast, axi.rvalid)
    bench.choose(reader.stop, reader.take, reader.clear)
    start, last = bench.some(40, "region"), bench.some(range(BEATS), "last_beat")
    bench.assume("a region has at most so many beats", last < BEATS, by="Settings")
    bench.m.d.comb += [reader.start.eq(start), reader.last.eq(last)]
    inner = bench.inside(reader)
    bench.lemma(axi.arvalid == inner.state("ASK"))
    bench.lemma(inner.all("stopped")[0] == (inner.state("RESET") | inner.state("STOPPED")))
    return bench, inner


def rules() -> Bench:
    bench, _ = bench_of(repeats=True)
    axi = bench.block.axi
    burst = (axi.araddr, axi.arlen, axi.arsize, axi.arburst)
    waited = bench.past(axi.arvalid & ~axi.arready)
    bench.prove("what is asked for stays until it is accepted", ~waited | axi.arvalid)
    for name, value in zip(("address", "length", "size", "kind"), burst, strict=True):
        bench.prove(f"its {name} too", ~waited | (value == bench.past(value)))
    end = axi.araddr[:12] + ((axi.arlen + 1) << (BYTES.bit_length() - 1))
    bench.prove("no burst crosses a page", ~axi.arvalid | (end <= PAGE_BYTES))
    bench.prove("whole beats", axi.arsize == BYTES.bit_length() - 1)
    bench.prove("at consecutive addresses", axi.arburst == 1)
    bench.prove("each is taken", axi.rready == 1)
    bench.cover("a burst waits, and is accepted", bench.past(waited & axi.arready))
    bench.cover("it is stopped while one waits", waited & bench.block.stop)
    return bench


def ring() -> Bench:
    """What the ring relies on, and that a reader is stopped when nothing is under way."""
    bench, inner = bench_of(repeats=True)
    axi, ring = bench.block.axi, bench.block.ring
    bench.prove("places are promised if there is room", (ring.ask == 0) | ring.room)
    bench.prove("for a burst at most", ring.ask <= BURST)
    bench.prove("not in two cycles in a row", (ring.ask == 0) | (bench.past(ring.ask) == 0))
    bench.prove("nor when words are forgotten", (ring.ask == 0) | ~ring.zero)
    asked = bench.past(ring.ask)
    bench.prove(
        "for each beat of a burst that begins to be asked for, and no others",
        asked == Mux(axi.arvalid & bench.past(~axi.arvalid), axi.arlen + 1, 0),
    )
    stopped = inner.all("stopped")[0]
    bench.prove("stopped, it asks for nothing", ~stopped | ~axi.arvalid)
    known = bench.past(stopped)
    bench.prove("nor awaits anything, in the cycle after", ~(known & stopped) | ~ring.awaited)
    bench.prove("it stops when nothing is awaited", known | ~stopped | ~bench.past(ring.awaited))
    held = bench.block.stop
    for cycles in range(1, 4):
        held &= bench.past(bench.block.stop, cycles, init=0)
    bench.prove(
        "none begins to be asked for, three cycles after a stop",
        ~(held & axi.arvalid) | bench.past(axi.arvalid),
    )
    bench.cover("it is stopped again", ~known & stopped & bench.after(3))
    return bench


def walk(*, repeats: bool) -> Bench:
    """Bursts follow each other through the region: what is asked for next is known from before."""
    bench, inner = bench_of(repeats=repeats)
    axi, last = bench.block.axi, bench.block.last
    stopped = inner.all("stopped")[0]
    # Beats of the region before the next burst; all of them: none, of a region that is read once.
    before = Signal(range(2 * BEATS))
    left = last + 1 - before
    size = Mux(left > BURST, BURST, left)[: len(before)]
    with bench.m.If(stopped):
        bench.m.d.sync += before.eq(0)
    with bench.m.Elif(axi.arvalid & axi.arready):
        following = before + size
        bench.m.d.sync += before.eq(
            Mux(following == last + 1, 0, following) if repeats else following
        )
    aligned, asks = BURST_BYTES.bit_length() - 1, axi.arvalid
    region = bench.block.start[aligned:]
    first = ((region << aligned) + (before << (BYTES.bit_length() - 1)))[:40]
    bench.prove("the address of a burst follows the last", ~asks | (axi.araddr == first))
    bench.prove("as many beats as a burst has, or are left", ~asks | (axi.arlen + 1 == size))
    bench.prove("none beyond the region", ~asks | (before <= last))
    loaded = ~(inner.state("RESET") | inner.state("STOPPED"))
    begun = loaded & ~inner.state("BEGIN")
    address, number, final, ended = (inner[n] for n in ("address", "left", "final", "ended"))
    bench.lemma(~loaded | (inner["region"] == region))
    bench.lemma(~loaded | (inner["last_beat"] == last))
    bench.lemma(stopped == ~loaded)
    bench.lemma(~inner.state("BEGIN") | (before == 0))
    bursts = before >> (BURST.bit_length() - 1)
    more = begun & ~ended
    bench.lemma(~more | (address == (region + bursts)[: len(address)]))
    bench.lemma(~more | (number == (last >> (BURST.bit_length() - 1)) - bursts))
    bench.lemma(~more | (final == (number == 0)))
    bench.lemma(~more | ((before[: BURST.bit_length() - 1] == 0) & (before <= last)))
    bench.lemma(~(begun & ended) | ((before == last + 1) & ~asks))
    bench.cover("a last burst of two beats", asks & (axi.arlen == 1) & (before == 12))
    return bench


PROOFS = [
    Proof("burst_reader_rules", rules, depth=3, quick=True),
    Proof("burst_reader_ring", ring, depth=5, reach=30, quick=True),
    Proof("burst_reader_walk", lambda: walk(repeats=True), depth=4, reach=40, quick=True),
    Proof("burst_reader_walk_once", lambda: walk(repeats=False), depth=4, reach=40, quick=True),
]
