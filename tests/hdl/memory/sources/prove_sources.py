"""The sources of weights and of rows, with readers that do all that a reader may.

What the level of a reader says is shown in prove_ring.py.
"""

from __future__ import annotations

from unittest.mock import patch

from amaranth.hdl import Const, Fragment, Module, Mux, Signal, Value
from amaranth.lib import wiring

from hdl.memory.sources import handshake
from hdl.memory.sources.axi import AxiSource
from hdl.memory.sources.burst_reader import BurstReader
from hdl.memory.sources.interface import LATENCY, TAKE_CYCLES
from hdl.memory.sources.rows import RowSource
from mmfree.chip.memory_map import row_beats, row_bytes
from tests.support.hdl.values import small_design
from tests.support.proofs.bench import Bench, Inside, Proof

QUIET = 8
"""In the place of QUIET_CYCLES."""

TIMEOUT = 5
WORDS = 5


class AnyReader(wiring.Component):
    """In the place of a reader: words come at any time, and ``beat`` numbers those that were taken.

    ``more``: how many come in a cycle. ``told``: whether it is stopped.
    """

    LATENCY = BurstReader.LATENCY

    def __init__(self, reader: BurstReader, bench: Bench, name: str) -> None:
        super().__init__(reader.signature)
        # Amaranth warns of what is made and not used.
        Fragment.get(reader, None)
        self._most = 1 << (len(reader.level) - 1)
        self.more, self.told = bench.any(2, f"{name}_more"), bench.any(1, f"{name}_stopped")
        self.error = bench.any(1, f"{name}_error")
        self.number = Signal(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number = self.number
        level = self.level + self.more - self.take
        m.d.sync += self.level.eq(Mux(self.clear, 0, Mux(level > self._most, self._most, level)))
        with m.If(self.clear):
            m.d.sync += number.eq(0)
        with m.Elif(self.take):
            m.d.sync += [
                number.eq(number + 1),
                self.beat.data.eq(number),
                self.beat.response.eq(self.error),
            ]
        m.d.comb += self.stopped.eq(self.told)
        return m


def inside(bench: Bench) -> tuple[Inside, Inside]:
    """The signals in the source, and in its handshake, which has few cycles."""
    inner = bench.inside(bench.block)
    with patch.object(handshake, "QUIET_CYCLES", QUIET):
        steps = bench.inside(inner.part("handshake"))
    bench.lemma(steps["fsm_state"] < 6)
    return inner, steps


def source(groups: int) -> Bench:
    """Orders whenever they are allowed, and words, errors and stops whenever the solver likes."""
    design = small_design(
        5 * groups, 8, 8, weight_code="1.6", memory=f"axi64x{groups}", weight_words=WORDS
    )
    block = AxiSource(design, TIMEOUT, ring_words=32)
    bench = Bench(block, driven=False)
    readers = [
        AnyReader(reader, bench, f"reader_{group}") for group, reader in enumerate(block.readers)
    ]
    block.readers = readers  # type: ignore[assignment]
    m, words, write = bench.m, block.words, block.settings
    bench.choose(words.restart, block.pause, block.playing, write.index, write.value, write.enable)
    wanted = bench.any(1, "wanted")
    order = wanted & words.available
    ordered = [bench.past(order, cycles) for cycles in range(1, TAKE_CYCLES + 1)]
    m.d.comb += words.take.eq(ordered[-1])
    inner, _ = inside(bench)
    controls, gave_up = inner.part("handshake"), inner.part("watchdog").gave_up
    under_way = order
    for earlier in ordered:
        under_way |= earlier
    bench.assume(
        "a token begins, and settings are written, while no order is under way",
        ~(words.restart | write.enable) | ~under_way,
        by="Sequencer",
        proof="sequencer_checks",
    )
    bench.assume(
        "settings are written while no token is played", ~(write.enable & block.playing), by="Host"
    )
    bench.assume("the bus is not reset", ~controls.lost, by="Host")
    bench.prove(
        "words are offered, or it has given up, unless it is paused",
        ~words.available | (~block.pause & bench.past(controls.running | gave_up)),
    )
    step = words.take & ~gave_up
    for group, reader in enumerate(readers):
        bench.prove(
            f"group {group}: a word is there when it is taken", ~reader.take | (reader.level != 0)
        )
        bench.prove(
            f"group {group}: for each take, at its time",
            reader.take == bench.past(step, LATENCY - 1 - reader.LATENCY + group),
        )
        bench.prove(
            f"group {group}: its share comes after LATENCY + {group} cycles",
            words.data[group] == bench.past(reader.beat.data),
        )
    told: Value = Const(0)
    for group, reader in enumerate(readers):
        came = bench.past(reader.take, reader.LATENCY) & reader.beat.response
        told |= bench.past(came, groups - group)
    bench.prove("errors are told with their words", block.response == told)
    passes(bench, inner, step)
    bench.cover(
        "a word is taken from each, and there is none left",
        readers[-1].take & (readers[-1].level == 1),
    )
    return bench


def passes(bench: Bench, inner: Inside, step: Value) -> None:
    """A restart does nothing if all words of the pass were taken, or none."""
    block = bench.block
    controls, settings = inner.part("handshake"), inner.part("settings")
    gave_up = inner.part("watchdog").gave_up
    # Words of the pass that were taken, since the rings were cleared.
    taken = Signal(range(WORDS + 1))
    known = Signal()
    with bench.m.If(block.settings.enable):
        bench.m.d.sync += known.eq(0)
    with bench.m.Elif(controls.clear):
        bench.m.d.sync += [taken.eq(0), known.eq(1)]
    with bench.m.Elif(step):
        bench.m.d.sync += taken.eq(Mux(taken == settings.last_word, 0, taken + 1))
    restart = known & block.words.restart & ~block.settings.enable
    ignored = restart & ~gave_up & (taken == 0)
    bench.prove("a restart between passes changes nothing", ~ignored | ~controls.again)
    bench.prove("another begins anew", ~restart | (taken == 0) | controls.again)
    bench.prove("as one does after it has given up", ~(restart & gave_up) | controls.again)
    bench.prove("and other settings", ~block.settings.enable | controls.again)
    bench.lemma(~known | (taken <= settings.last_word))
    bench.lemma(~known | (inner["begun"] == (taken != 0)))
    bench.lemma(~known | (inner["left"] == settings.last_word - taken))
    bench.lemma(~known | (inner["ends"] == (inner["left"] == 0)))
    bench.cover("a restart between two passes", ignored & bench.past(taken != 0, 5))
    bench.cover("and one after it has given up", restart & gave_up)


def rows() -> Bench:
    """Beats of a row for each order, from its address on, whenever they come."""
    design = small_design(
        5, 32, 32, weight_code="1.6", memory="axi256", embedding_rows=12, embedding_width=288
    )
    beats = row_beats(design)
    block = RowSource(design, TIMEOUT)
    bench = Bench(block, driven=False)
    block.reader = reader = AnyReader(block.reader, bench, "reader")  # type: ignore[assignment]
    m, write = bench.m, block.settings
    bench.choose(block.beats.ready, block.playing, write.index, write.value, write.enable)
    bench.choose(block.row.start)
    number = bench.some(range(12), "number")
    m.d.comb += block.row.id.eq(number)
    inner, steps = inside(bench)
    controls, settings = inner.part("handshake"), inner.part("settings")
    gave_up = inner.part("watchdog").gave_up
    # Beats given of the row in progress.
    given = Signal(range(beats + 1))
    busy = Signal()
    gives = block.beats.valid & block.beats.ready
    with m.If(block.row.start):
        m.d.sync += [given.eq(0), busy.eq(1)]
    with m.Elif(gives):
        m.d.sync += [given.eq(given + 1), busy.eq(given != beats - 1)]
    bench.assume("a row is ordered when none is read", ~block.row.start | ~busy, by="Sequencer")
    bench.assume("rows have a number that there is", number < 12, by="Sequencer")
    bench.assume(
        "settings are written while no row is read",
        ~write.enable | ~(busy | block.row.start),
        by="Host",
    )
    bench.prove("beats are kept", bench.kept(block.beats))
    bench.prove("none but those of a row", ~block.beats.valid | busy)
    bench.prove("no beat that is not there is taken", ~reader.take | (reader.level != 0))
    bench.prove(
        "in order, unless it has given up",
        ~block.beats.valid | gave_up | bench.past(gave_up) | (block.beats.payload.data == given),
    )
    bench.prove(
        "read from its address on",
        ~controls.enable
        | (reader.start == (settings.regions[1] + number * row_bytes(design))[:40]),
    )
    bench.prove("stopped after it", ~bench.past(gives & (given == beats - 1)) | controls.stop)
    bench.lemma(inner["busy"] == busy)
    bench.lemma(~busy | ((inner["left"] == beats - given) & (given < beats)))
    fetched, valid, idle = inner["fetched"], block.beats.valid, ~steps.state("RUN")
    bench.lemma(~(steps.state("READY") | steps.state("START")) | (reader.number == 0))
    bench.lemma(busy | ~(fetched | valid | steps.state("START") | steps.state("RUN")))
    bench.lemma(controls.stop == ~(steps.state("START") | steps.state("RUN")))
    exact = busy & ~gave_up
    bench.lemma(~(exact & idle) | ((given == 0) & ~fetched & ~valid))
    bench.lemma(~exact | idle | (reader.number == (given + fetched + valid)[:4]))
    bench.lemma(~(exact & fetched) | (reader.beat.data == (reader.number - 1)[:4]))
    bench.cover("all beats of a row", gives & (given == beats - 1) & ~gave_up)
    bench.cover("given up in the middle", gave_up & (given == 3))
    return bench


PROOFS = [
    Proof("axi_source_levels", lambda: source(1), depth=14, reach=50, quick=True),
    Proof("axi_source_2_groups", lambda: source(2), depth=16, reach=50, quick=True),
    Proof("row_source", rows, depth=5, reach=60, quick=True),
]
