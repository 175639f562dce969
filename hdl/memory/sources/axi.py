"""Weights from an external memory, through an AXI4 port for each group of rows."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import MemorySettings
from hdl.memory.sources.axi_read import AxiRead
from hdl.memory.sources.burst_reader import BurstReader
from hdl.memory.sources.handshake import Handshake
from hdl.memory.sources.interface import LATENCY, WeightSource, take_cycles
from hdl.memory.sources.settings import Settings
from hdl.memory.sources.watchdog import TIMEOUT_CYCLES, Watchdog
from mmfree.chip.design import Design

BURST = 16
"""Beats of a burst."""

RING_WORDS = 512
"""Words of a ring: a memory's latency in beats, a burst, and the margin (docs/accelerator.md)."""

_WAY_IN = LATENCY - BurstReader.LATENCY - 1
"""Cycles from ``take`` to the ring of the first group; a register follows after it."""


def margin(design: Design, group: int) -> int:
    """Words in a group's ring from which on it has one for every ``take`` under way, and another.

    Under way are those of the cycles before the level sees them: a take reaches the ring, and
    whether there are words reaches ``available``, a cycle later for each group.
    """
    return take_cycles(design) + _WAY_IN + 2 + 2 * group


class AxiSource(wiring.Component):
    """Words of an image from an external memory, read ahead without end.

    Each group of rows has a reader with a ring, which goes on with the image's first word after its
    last, so the next pass finds its words there. ``take``, and back the other way whether there are
    words, pass from group to group, a cycle each (docs/decisions/0010).

    ``restart`` changes nothing if all words of the pass were taken, or none. Otherwise, and after a
    write of the settings, the readers are stopped, the beats under way awaited and all words
    dropped, before they begin anew.

    A word that does not come for ``timeout`` cycles while a token is played is given up, as is the
    pass if the bus is reset: up to the next restart the words that are taken are anything, at full
    speed, so that the pass comes to its end. What becomes of it is not decided here.

    Ports::

        words     in   WeightSource    the image's words, in order
        pause     in   1               withhold them, as a slower source would: for tests
        settings  in   MemorySettings  entries 0 to G - 1 and G + 1; only while no token is played
        playing   in   1               a token is in progress: words are waited for
        axi       out  G x AxiRead     port g reads the shares of group g; of the clock "bus"
        response  out  1               a word came with an error, LATENCY + G - 1 after its take
        timeout   out  1               a word is given up; one cycle

    A word per cycle, if the memory has as many, and while at least ``margin`` are in each ring.
    The bus's clock has a quarter to four times the chip's frequency. After reset nothing is read
    until the settings have been written, and what was under way before is awaited and dropped.
    """

    def __init__(
        self, design: Design, timeout: int = TIMEOUT_CYCLES, ring_words: int = RING_WORDS
    ) -> None:
        external = design.external
        assert external is not None
        assert external.ports == design.num_groups
        assert margin(design, design.num_groups - 1) + BURST <= ring_words
        self._design, self._timeout = design, timeout
        self.readers = [
            BurstReader(
                external.port_bits, design.weight_words, depth=ring_words, burst=BURST, repeats=True
            )
            for _ in range(external.ports)
        ]
        super().__init__(
            {
                "words": In(WeightSource(design)),
                "pause": In(1),
                "settings": In(MemorySettings(design)),
                "playing": In(1),
                "axi": Out(AxiRead(external.port_bits)).array(external.ports),
                "response": Out(1),
                "timeout": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.handshake = handshake = Handshake(len(self.readers))
        m.submodules.settings = settings = Settings(self._design)
        wiring.connect(m, wiring.flipped(self.settings), settings.write)
        m.submodules.watchdog = watchdog = Watchdog(self._timeout)
        poisoned = watchdog.gave_up
        again = Signal()
        step = self.words.take & ~poisoned
        ready = self._connect_readers(m, handshake, settings, step)
        begun = self._count(m, step, settings.last_word, handshake.clear)
        offered = Signal()
        m.d.sync += offered.eq((poisoned | (handshake.running & ready)) & ~again)
        m.d.comb += [
            self.words.available.eq(offered & ~self.pause),
            again.eq(
                settings.write.enable
                | (self.words.restart & (begun | poisoned))
                | (handshake.lost & ~self.playing)
            ),
            handshake.again.eq(again),
            handshake.enable.eq(settings.complete),
            handshake.stopped.eq(Cat(reader.stopped for reader in self.readers)),
            watchdog.waiting.eq(self.playing & ~offered & ~self.pause),
            watchdog.lost.eq(self.playing & handshake.lost),
            watchdog.again.eq(again),
            self.timeout.eq(watchdog.timeout),
        ]
        return m

    def _connect_readers(
        self, m: Module, handshake: Handshake, settings: Settings, step: Value
    ) -> Value:
        """Readers, rings and the way of the words out of them; returned: every ring has words."""
        take = delay(m, step, _WAY_IN, reset=True)
        clear: Value = handshake.clear
        response: Value = Const(0)
        enough = []
        for group, reader in enumerate(self.readers):
            m.submodules[f"reader_{group}"] = reader
            wiring.connect(m, wiring.flipped(self.axi[group]), reader.axi)
            m.d.comb += [
                reader.start.eq(settings.regions[group]),
                reader.last.eq(settings.last_word),
                reader.stop.eq(handshake.stop),
                reader.take.eq(take),
                reader.clear.eq(clear),
                self.words.data[group].eq(delay(m, reader.beat.data, 1)),
            ]
            taken = delay(m, take, reader.LATENCY + 1, reset=True)
            own = delay(m, reader.beat.response, 1) & taken
            response = own if group == 0 else own | delay(m, response, 1, reset=True)
            enough.append(reader.level >= margin(self._design, group))
            take, clear = delay(m, take, 1, reset=True), delay(m, clear, 1, reset=True)
        m.d.comb += self.response.eq(response)
        # Back from the last group to the first.
        ready = enough.pop()
        for own in reversed(enough):
            ready = own & delay(m, ready, 1, reset=True)
        return ready

    def _count(self, m: Module, step: Value, last_word: Value, clear: Value) -> Signal:
        """Whether some words of the pass were taken, and not all."""
        left = Signal.like(last_word)
        ends = Signal()
        begun = Signal()
        with m.If(clear | (step & ends)):
            m.d.sync += [left.eq(last_word), ends.eq(last_word == 0), begun.eq(0)]
        with m.Elif(step):
            m.d.sync += [left.eq(left - 1), ends.eq(left == 1), begun.eq(1)]
        return begun
