"""Stops that last, rings that are cleared in between, and a watch that is not forgotten."""

from __future__ import annotations

from unittest.mock import patch

from amaranth.hdl import Mux, Signal

from hdl.memory.sources import handshake
from hdl.memory.sources.handshake import Handshake
from hdl.memory.sources.watchdog import Watchdog
from tests.support.proofs.bench import Bench, Inside, Proof

QUIET = 8
"""In the place of QUIET_CYCLES."""


def inside(block: Handshake) -> Inside:
    """Elaborate it with few cycles."""
    with patch.object(handshake, "QUIET_CYCLES", QUIET):
        return Bench.inside(block)


def levels() -> Bench:
    bench = Bench(Handshake(2))
    block, m = bench.block, bench.m
    inner = inside(block)
    # Cycles since the last `again`, or the start after reset, that the readers were told to stop;
    # and cycles of `clear` since then.
    told = Signal(range(QUIET + 1))
    cleared = Signal(range(QUIET + 1))
    fresh = block.again | ~block.stop
    m.d.sync += [
        told.eq(Mux(fresh, 0, told + (told != QUIET))),
        cleared.eq(Mux(fresh, 0, cleared + (block.clear & (cleared != QUIET)))),
    ]
    began = ~block.stop & bench.past(block.stop)
    bench.prove("again stops, in the next cycle", ~bench.past(block.again) | block.stop)
    bench.prove("rings are cleared while readers are stopped", ~block.clear | block.stop)
    bench.prove("when they have been told for long enough", ~block.clear | (told == QUIET))
    begins = block.clear & ~bench.past(block.clear)
    bench.prove("and all of them are stopped", ~begins | bench.past(block.stopped.all()))
    bench.prove("for long enough", ~began | (bench.past(cleared) == QUIET))
    bench.prove("there is something to read then", ~began | bench.past(block.enable))
    bench.prove(
        "running, if none is stopped", ~block.running | (~block.stop & ~block.stopped.any())
    )
    bench.prove("lost, if one is", ~block.lost | (~block.stop & block.stopped.any()))
    cycles, state = inner["cycles"], inner.state
    bench.lemma(block.stop == ~(state("START") | state("RUN")))
    bench.lemma(~state("QUIET") | (told == cycles))
    bench.lemma(~(state("DRAIN") | state("CLEAR") | state("READY")) | (told == QUIET))
    bench.lemma(~state("DRAIN") | (cycles == 0))
    bench.lemma(~(state("QUIET") | state("DRAIN")) | (cleared == 0))
    bench.lemma(~state("CLEAR") | (cleared == cycles))
    bench.lemma(~state("READY") | (cleared == QUIET))
    lemma_states = ("QUIET", "DRAIN", "CLEAR", "READY", "START", "RUN")
    bench.lemma(sum(state(name) for name in lemma_states) == 1)
    bench.cover("running, and lost", block.lost & bench.past(block.running))
    bench.cover("started a second time", block.running & bench.past(began, 3) & bench.after(30))
    return bench


def watchdog() -> Bench:
    limit = 5
    bench = Bench(Watchdog(limit))
    block = bench.block
    # Waited for in each of the last cycles, and neither begun anew nor given up before the last.
    waited = block.waiting
    for cycles in range(1, limit):
        waited &= bench.past(block.waiting & ~block.gave_up & ~block.again, cycles)
    bench.prove("given up after so many cycles", ~waited | block.gave_up | block.timeout)
    bench.prove("or if it is lost", ~(block.lost & ~block.gave_up) | block.timeout)
    bench.prove("and not otherwise", ~block.timeout | waited | block.lost)
    bench.prove("once", ~(block.timeout & block.gave_up))
    bench.prove(
        "until it begins anew",
        block.gave_up == bench.past((block.timeout | block.gave_up) & ~block.again),
    )
    bench.cover("a second time", block.timeout & bench.past(block.gave_up, 7))
    return bench


PROOFS = [
    Proof("handshake", levels, depth=3, reach=60, quick=True),
    Proof("watchdog", watchdog, depth=7, quick=True),
]
