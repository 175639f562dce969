"""Requests: as many results as asked for, whatever is cancelled, and streams that keep still."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal, Value
from amaranth.lib import data

from hdl.control.requests import Requests
from hdl.payloads import request_layout
from mmfree.chip.exchange import LIMIT_BITS
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Proof

DESIGN = small_design(2, 2, 4, max_rows=4, embedding_rows=4)


class Surroundings(Bench):
    """A host that asks and cancels at any time, and what is promised of the sequencer.

    ``accepted``, ``taken``, ``given``: a request, a token, a result passes in this cycle.
    """

    def __init__(self) -> None:
        super().__init__(Requests(DESIGN))
        block, inner = self.block, self.inside(self.block)
        self.accepted = block.request.valid & block.request.ready
        self.taken = block.play.valid & block.play.ready
        self.given = block.result.valid & block.result.ready
        self.assume(
            "a request stays until it is taken",
            self.kept(block.request),
            by="RegisterPort",
            proof="register_port_writes",
        )
        self.assume(
            "a chosen row stays until it is taken",
            self.kept(block.chosen),
            by="Sequencer",
            proof="sequencer_answers",
        )
        # A token is in progress until its row or its fault is taken.
        playing = Signal()
        with self.m.If(self.taken):
            self.m.d.sync += playing.eq(1)
        with self.m.If((block.chosen.valid & block.chosen.ready) | block.failed):
            self.m.d.sync += playing.eq(0)
        self.assume(
            "one token at a time",
            ~(block.play.ready & playing),
            by="Sequencer",
            proof="sequencer_answers",
        )
        self.assume(
            "a row, or else a fault, of a token in progress",
            (~block.chosen.valid | playing) & (~block.failed | (playing & ~block.chosen.valid)),
            by="Sequencer",
            proof="sequencer_answers",
        )
        self.inner = inner
        self.active, self.again = inner["active"], inner["again"]
        self.lemma(~self.again | (self.active & ~playing))
        self.lemma(self.active == (self.again | playing))


def streams() -> Bench:
    bench = Surroundings()
    block = bench.block
    bench.prove("a result stays until it is taken, whatever is cancelled", bench.kept(block.result))
    bench.prove("a token stays until it is taken", bench.kept(block.play))
    cancelled = bench.past(block.cancel & block.result.valid & ~block.result.ready)
    bench.cover("cancelled while a result waits", cancelled & ~block.result.payload.last)
    return bench


def results() -> Bench:
    """Registers beside the block say what is asked for, how much of it is left, and what waits."""
    bench = Surroundings()
    block, m = bench.block, bench.m
    request, play, result = block.request, block.play, block.result
    accepted, taken, given = bench.accepted, bench.taken, bench.given

    in_progress, left, owed, cancelled = Signal(), Signal(LIMIT_BITS), Signal(), Signal()
    asked = Signal.like(request.payload)
    with m.If(given):
        m.d.sync += [left.eq(left - 1), in_progress.eq(~result.payload.last)]
    with m.If(block.failed):
        m.d.sync += in_progress.eq(0)
    with m.If(block.cancel):
        m.d.sync += cancelled.eq(1)
    with m.If(accepted):
        limit = request.payload.limit
        m.d.sync += [asked.eq(request.payload), left.eq(Mux(limit == 0, 1, limit))]
        m.d.sync += [in_progress.eq(1), cancelled.eq(0)]
    with m.If(given & ~result.payload.last):
        m.d.sync += owed.eq(1)
    with m.Elif(taken):
        m.d.sync += owed.eq(0)
    # A cancel counts for a result if it came before the cycle in which that is offered.
    heeded, kept = Signal(), bench.past(result.valid & ~result.ready)
    m.d.comb += heeded.eq(Mux(kept, bench.past(heeded), cancelled))

    bench.prove("a request is taken with its token", request.ready == play.ready & ~in_progress)
    bench.prove(
        "a token is of a new request, or fed back",
        play.valid == Mux(in_progress, owed, request.valid),
    )
    first = Value.cast(play.payload) == Value.cast(request.payload.token)
    bench.prove("a first token is the request's", ~accepted | (taken & first))
    row = bench.past(result.payload.row)
    bench.prove(
        "a result that is not the last is fed back in the cycle after",
        ~bench.past(given & ~result.payload.last)
        | (play.valid & (play.payload.id == row) & ~play.payload.begin),
    )
    bench.prove("a result is a chosen row of a request", ~result.valid | in_progress)
    bench.prove(
        "chosen rows pass at once",
        (result.valid == block.chosen.valid)
        & (block.chosen.ready == result.ready)
        & (result.payload.row == block.chosen.payload.row),
    )
    bench.prove("never more results than asked for", ~result.valid | (left != 0))
    stopped = asked.stops & (result.payload.row == asked.stop)
    bench.prove(
        "the last result: by number, by its row, or cancelled before it was offered",
        ~result.valid | (result.payload.last == (left == 1) | stopped | heeded),
    )
    bench.prove(
        "the request's temperature", ~in_progress | (block.temperature == asked.temperature)
    )

    inner = data.View(request_layout(DESIGN), bench.inner["asked"])
    bench.lemma((in_progress == bench.active) & (owed == bench.again))
    bench.lemma(~in_progress | (left == Mux(inner.limit == 0, 1, inner.limit)))
    same = (inner.stop == asked.stop) & (inner.stops == asked.stops)
    bench.lemma(~in_progress | (same & (inner.temperature == asked.temperature)))
    bench.lemma(~in_progress | (bench.inner["cancelled"] == cancelled))
    bench.lemma(~in_progress | (bench.inner["ending"] == Mux(kept, bench.past(heeded), cancelled)))
    bench.cover("the third result of more", given & (left == 2) & (asked.limit == 4))
    bench.cover("cancelled after the first", given & result.payload.last & (left == 3) & ~stopped)
    bench.cover("a fault, and another request", accepted & bench.past(block.failed))
    return bench


PROOFS = [
    Proof("requests_streams", streams, depth=3, quick=True),
    Proof("requests_results", results, depth=3, quick=True),
]
