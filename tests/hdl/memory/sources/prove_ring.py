"""The ring between two clocks: no place is promised twice, no word lost, doubled or exchanged.

Both clocks are one here, so a count is known to the other side after a fixed number of cycles. That
it crosses whole when they are not is the Gray code's: of a count that moves by one, one bit moves.
"""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import ClockDomain, ClockSignal, Const, Mux, Signal, Value

from hdl.memory.sources.ring import Ring
from tests.support.proofs.bench import Bench, Inside, Proof

DEPTH, BURST, BITS = 8, 2, 3
CROSSING = 4
"""Cycles until the other side knows a count, with one clock: through four registers."""

FORGETTING = 8
"""Cycles, at least, for which both sides forget their words."""


def one_clock(bench: Bench) -> None:
    """The clock of the bus is the chip's."""
    bench.m.domains.bus = ClockDomain("bus", reset_less=True)
    bench.m.d.comb += ClockSignal("bus").eq(ClockSignal("sync"))


def keep_order(bench: Bench, ring: Ring, inner: Inside) -> Signal:
    """Assume what the ring's two sides guarantee; returned: they forget their words."""
    forget, since = bench.any(1, "forget"), Signal(range(FORGETTING + 1))
    bench.m.d.comb += [ring.zero.eq(forget), ring.clear.eq(forget)]
    bench.m.d.sync += since.eq(Mux(forget, Mux(since == FORGETTING, since, since + 1), 0))
    bench.assume(
        f"both sides forget together, for {FORGETTING} cycles or more",
        forget | (since == 0) | (since == FORGETTING),
        by="Handshake",
        proof="handshake",
    )
    for name in ("asked", "taken", "written"):
        for cycles in range(CROSSING + 1):
            bench.lemma((since <= cycles) | (bench.past(inner[name], cycles) == 0))
    bench.assume(
        "places are promised if there is room, not in two cycles in a row, nor when forgetting",
        (ring.ask == 0) | ((ring.ask <= BURST) & ring.room & (bench.past(ring.ask) == 0) & ~forget),
        by="BurstReader",
        proof="burst_reader_ring",
    )
    bench.assume(
        "a word is taken if there is one, not when forgetting",
        ~ring.take | ((ring.level != 0) & ~forget),
        by="AxiSource and RowSource",
        proof="axi_source_levels",
    )
    return forget


class Places(NamedTuple):
    """What a bench counts beside the ring: places promised, and words in it; a word is accepted."""

    promised: Signal
    filled: Signal
    accepted: Value


def count_places(bench: Bench, ring: Ring, inner: Inside, forget: Signal) -> Places:
    """And lemmas: how they are what the two sides have counted, CROSSING cycles ago."""
    promised, filled = Signal(range(2 * DEPTH)), Signal(range(2 * DEPTH))
    accepted = ring.write & (promised != filled) & ~forget
    bench.m.d.sync += [
        promised.eq(Mux(forget, 0, promised + ring.ask - ring.take)),
        filled.eq(Mux(forget, 0, filled + accepted - ring.take)),
    ]
    for name in ("taken", "written"):
        count = inner[name]
        now, earlier = bench.past(count), bench.past(count, CROSSING - 1)
        bench.lemma(inner[f"{name}_gray"] == now ^ (now >> 1))
        bench.lemma(inner[f"{name}_arrived"] == earlier ^ (earlier >> 1))
        bench.lemma(inner[f"{name}_seen"] == bench.past(count, CROSSING))
    asked, written, taken = inner["asked"], inner["written"], inner["taken"]
    size = len(asked)
    bench.lemma((asked - taken)[:size] == promised)
    bench.lemma((written - taken)[:size] == filled)
    # How far a count has moved while it crossed.
    moved_out, moved_in, forgot = Const(0, 4), Const(0, 4), forget
    for cycles in range(1, CROSSING + 1):
        moved_in += bench.past(accepted, cycles)
        moved_out += bench.past(ring.take, cycles)
        forgot |= bench.past(forget, cycles)
    bench.lemma(forgot | ((written - bench.past(written, CROSSING))[:size] == moved_in))
    bench.lemma(forgot | ((taken - bench.past(taken, CROSSING))[:size] == moved_out))
    bench.lemma(forgot | (promised + moved_out <= DEPTH))
    bench.lemma(forgot | (moved_in <= filled))
    bench.lemma(filled <= promised)
    return Places(promised, filled, accepted)


def counts() -> Bench:
    bench = Bench(Ring(BITS, DEPTH, BURST), driven=False)
    one_clock(bench)
    ring = bench.block
    bench.choose(ring.ask, ring.write, ring.i, ring.take)
    inner = bench.inside(ring)
    forget = keep_order(bench, ring, inner)
    promised, filled, accepted = count_places(bench, ring, inner, forget)
    bench.prove("never more places promised than there are", promised <= DEPTH)
    bench.prove("nor filled than promised", filled <= promised)
    bench.prove("words are awaited if some were asked for", ring.awaited == (promised != filled))
    bench.prove("what may be taken is in the ring", forget | (ring.level <= filled))
    bench.prove(
        "room for a burst, if it is told",
        ~ring.room | (bench.past(ring.ask) != 0) | (promised <= DEPTH - BURST),
    )
    moved = forget
    for cycles in range(1, CROSSING + 1):
        moved |= bench.past(forget | accepted | ring.take, cycles)
    bench.prove("in the end all of it may be taken", moved | (ring.level == filled))
    bench.cover("all places are filled, and known to be", ring.level == DEPTH)
    bench.cover("emptied after that", (inner["taken"] == DEPTH + 1) & (ring.level == 0) & ~forget)
    return bench


def order() -> Bench:
    """A word that the solver marks when it comes is found when its turn has come."""
    bench = Bench(Ring(BITS, DEPTH, BURST), driven=False)
    one_clock(bench)
    m, ring = bench.m, bench.block
    bench.choose(ring.ask, ring.write, ring.i, ring.take)
    inner = bench.inside(ring)
    forget = keep_order(bench, ring, inner)
    _, filled, accepted = count_places(bench, ring, inner, forget)
    mark = bench.any(1, "mark")
    marked, word, before = Signal(), Signal(BITS), Signal(range(2 * DEPTH))
    with m.If(forget):
        m.d.sync += marked.eq(0)
    with m.Elif(accepted & mark & ~marked):
        m.d.sync += [marked.eq(1), word.eq(ring.i), before.eq(filled - ring.take)]
    with m.Elif(marked & ring.take):
        m.d.sync += [before.eq(before - 1), marked.eq(before != 0)]
    found = bench.past(marked & ring.take & (before == 0))
    bench.prove("it is the one that was written", ~found | (ring.o == bench.past(word)))
    bench.prove(
        "and stays until the next is taken",
        bench.past(ring.take, init=1) | (ring.o == bench.past(ring.o)),
    )
    look = inner.part("words").read_port(domain="comb")
    m.d.comb += look.addr.eq((inner["taken"] + before)[: len(look.addr)])
    bench.lemma(~marked | (look.data == word))
    bench.lemma(~marked | (before < filled))
    bench.cover(
        "a word that is not 0, after others",
        found & bench.past(word != 0) & (inner["taken"] == DEPTH + 3),
    )
    return bench


PROOFS = [
    Proof("ring_counts", counts, depth=8, reach=40, quick=True),
    Proof("ring_order", order, depth=8, reach=40, quick=True),
]
