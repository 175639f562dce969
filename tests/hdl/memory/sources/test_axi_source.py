"""Weights from an external memory: every word in order, whatever memory and host do."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from hdl.memory.sources.axi import AxiSource
from hdl.memory.sources.handshake import QUIET_CYCLES
from hdl.memory.sources.interface import LATENCY, TAKE_CYCLES
from mmfree.chip.design import Design
from mmfree.chip.external_memory import PAGE_BYTES, find_memory
from tests.support.hdl.axi_memory import AxiMemory, Pace, TwoClocks
from tests.support.hdl.values import small_design

MOST_WORDS = 300
TIMEOUT = 700
BASE = (1 << 39) + 3 * PAGE_BYTES
"""Beyond 32 bits."""

SLOW = Pace(latency=(10, 40), busy=0.3, withheld=0.2, stray=0.3)


def design_of(memory: str) -> Design:
    external = find_memory(memory)
    assert external is not None
    return small_design(
        external.rows,
        external.columns,
        external.columns,
        weight_code="1.6",
        memory=memory,
        weight_words=MOST_WORDS,
    )


class Rig:
    """A source, a memory behind each of its ports, and what a bench does with them.

    Words are ordered when they are available, and taken ``lag`` cycles later; each share and each
    response is expected when it is due.
    """

    def __init__(
        self,
        memory: str = "axi64",
        words: int = 37,
        *,
        ratio: float = 1.0,
        pace: Pace | None = None,
        lag: int = TAKE_CYCLES,
        seed: int = 0,
        ring_words: int = 128,
    ) -> None:
        self.design, self.words, self.lag = design_of(memory), words, lag
        self.source = AxiSource(self.design, TIMEOUT, ring_words)
        self.clocks = TwoClocks(self.source, ratio)
        self.rng = random.Random(seed)
        self.num_groups = self.design.num_groups
        self.port_bytes = self.design.columns
        self.memories = [
            AxiMemory(
                self.source.axi[group],
                self.rng.randbytes(words * self.port_bytes),
                base=BASE + 2 * group * PAGE_BYTES,
                pace=pace or Pace(),
                seed=group,
            )
            for group in range(self.num_groups)
        ]
        self.cycle = self.taken = self.timeouts = 0
        self.garbage = False
        self.orders: set[int] = set()
        self.shares: list[dict[int, int | None]] = [{} for _ in range(self.num_groups)]
        self.responses: set[int] = set()

    def run(self, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        self.clocks.run(bench, self.memories)

    async def tick(self, ctx: Any) -> None:
        """One cycle; what is due comes."""
        source = self.source
        ctx.set(source.words.take, self.cycle in self.orders)
        if ctx.get(source.timeout):
            self.timeouts += 1
            self.garbage = True
        await ctx.tick()
        self.cycle += 1
        for group, due in enumerate(self.shares):
            share = due.pop(self.cycle, None)
            if share is not None:
                assert ctx.get(source.words.data[group]) == share, f"{self.cycle}, group {group}"
        assert ctx.get(source.response) == (self.cycle in self.responses), self.cycle

    def order(self) -> None:
        """The next word, to be taken ``lag`` cycles from now."""
        number = self.taken % self.words
        self.taken += 1
        take = self.cycle + self.lag
        self.orders.add(take)
        if self.garbage:
            return
        for group, memory in enumerate(self.memories):
            share = memory.data[number * self.port_bytes :][: self.port_bytes]
            self.shares[group][take + LATENCY + group] = int.from_bytes(share, "little")
            if memory.base + number * self.port_bytes in memory.errors:
                self.responses.add(take + LATENCY + self.num_groups - 1)

    async def play(self, ctx: Any, words: int, *, eager: float = 1.0, paused: float = 0.0) -> int:
        """Take so many words, then let them come; returned: the cycles until the last was taken."""
        begin, left = self.cycle, words
        while left:
            assert self.cycle - begin < 4 * TIMEOUT + 9 * words, f"{left} words do not come"
            ctx.set(self.source.pause, self.rng.random() < paused)
            if ctx.get(self.source.words.available) and self.rng.random() < eager:
                self.order()
                left -= 1
            await self.tick(ctx)
        ctx.set(self.source.pause, 0)
        cycles = self.cycle - begin
        for _ in range(self.lag + LATENCY + self.num_groups):
            await self.tick(ctx)
        return cycles

    async def restart(self, ctx: Any) -> None:
        """A token begins."""
        self.taken, self.garbage = 0, False
        ctx.set(self.source.words.restart, 1)
        await self.tick(ctx)
        ctx.set(self.source.words.restart, 0)

    async def set_up(self, ctx: Any, changes: dict[int, int] | None = None) -> None:
        """Write all settings; ``changes``: entries with other values than they should have."""
        values = [*(memory.base for memory in self.memories), 0, self.words]
        for index, value in enumerate(values):
            await self.write(ctx, index, (changes or {}).get(index, value))

    async def write(self, ctx: Any, index: int, value: int) -> None:
        """Write one setting."""
        settings = self.source.settings
        ctx.set(settings.index, index)
        ctx.set(settings.value, value)
        ctx.set(settings.enable, 1)
        await self.tick(ctx)
        ctx.set(settings.enable, 0)
        ctx.set(settings.value, self.rng.getrandbits(40))

    async def wait(self, ctx: Any, cycles: int) -> None:
        for _ in range(cycles):
            await self.tick(ctx)

    async def bursts_when_stopped(self, ctx: Any) -> list[int]:
        """How many each memory has accepted when the readers have seen that they must stop."""
        await self.wait(ctx, QUIET_CYCLES)
        return [len(memory.bursts) for memory in self.memories]

    def expect_start(self, stopped: list[int]) -> None:
        """After so many bursts each reader began with its region, when nothing was under way."""
        for memory, count in zip(self.memories, stopped, strict=True):
            burst = memory.bursts[count]
            assert (burst.address, burst.under_way) == (memory.base, 0)

    def bursts_of_passes(self, group: int) -> list[tuple[int, int]]:
        """Addresses and beats of as many bursts as were accepted, from the region's first on."""
        base = self.memories[group].base
        one_pass = [
            (base + first * self.port_bytes, min(16, self.words - first))
            for first in range(0, self.words, 16)
        ]
        count = len(self.memories[group].bursts)
        return (one_pass * count)[:count]


@pytest.mark.parametrize("ratio", [1.0, 1.5, 1 / 3, 4.0, 0.25])
@pytest.mark.parametrize(
    ("memory", "words"),
    [("axi64", 37), ("axi64x4", 16), ("axi128x2", 1), ("axi256", 67), ("axi512x2", 47)],
)
def test_each_word_comes_once_in_order_pass_after_pass(
    memory: str, words: int, ratio: float
) -> None:
    """No pass but the first waits for a start: the rings go on with the first word."""
    rig = Rig(memory, words, ratio=ratio, pace=SLOW)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        ctx.set(rig.source.playing, 1)
        for eager, paused in ((1.0, 0.0), (0.7, 0.2), (1.0, 0.0)):
            await rig.play(ctx, words, eager=eager, paused=paused)
            await rig.restart(ctx)

    rig.run(bench)
    assert rig.timeouts == 0
    for group, memory_of_group in enumerate(rig.memories):
        bursts = [(burst.address, burst.beats) for burst in memory_of_group.bursts]
        assert bursts == rig.bursts_of_passes(group)


@pytest.mark.parametrize("lag", range(TAKE_CYCLES + 1))
def test_a_take_may_follow_its_order_by_some_cycles(lag: int) -> None:
    """From a memory that gives a word now and then: each is ordered as soon as it may be."""
    rig = Rig("axi64x4", 41, lag=lag, pace=Pace(withheld=0.6))

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.play(ctx, 4 * rig.words)

    rig.run(bench)


def test_a_ring_shorter_than_the_latency_is_slow_and_exact() -> None:
    rig = Rig("axi64x2", 45, ring_words=32, pace=Pace(latency=(100, 130)))

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        assert await rig.play(ctx, 2 * rig.words) > 5 * rig.words

    rig.run(bench)


@pytest.mark.parametrize("ratio", [1.0, 1.25])
def test_a_word_per_cycle_through_long_latencies(ratio: float) -> None:
    """Once the rings are filled, from a memory that withholds nothing."""
    rig = Rig("axi64x2", 300, ratio=ratio, ring_words=512, pace=Pace(latency=(60, 200)))

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.wait(ctx, 700)
        assert await rig.play(ctx, 1500) <= 1.01 * 1500

    rig.run(bench)


@pytest.mark.parametrize(("words", "ratio"), [(1, 1.0), (20, 4.0), (36, 0.25), (36, 1.0)])
def test_a_restart_in_the_middle_begins_anew(words: int, ratio: float) -> None:
    """The words taken before it still come; those under way are awaited first, and dropped."""
    rig = Rig("axi64x2", 37, ratio=ratio, pace=SLOW)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        for _ in range(2):
            left = words
            while left:
                if ctx.get(rig.source.words.available):
                    rig.order()
                    left -= 1
                await rig.tick(ctx)
            await rig.wait(ctx, rig.lag)
            await rig.restart(ctx)
            assert not ctx.get(rig.source.words.available)
            stopped = await rig.bursts_when_stopped(ctx)
            await rig.play(ctx, 2 * rig.words)
            rig.expect_start(stopped)

    rig.run(bench)


@pytest.mark.parametrize(
    ("ratio", "moment"),
    [(1.0, n) for n in (0, 1, 5, 140, 141, 145, 150, 170, 333)]
    + [(4.0, n) for n in (2, 141, 150)]
    + [(0.25, n) for n in (3, 150, 170, 200)],
)
def test_a_reset_of_the_chip_leaves_no_beat_behind(ratio: float, moment: int) -> None:
    """At any time: the reader's first burst afterwards finds none under way."""
    rig = Rig("axi64x2", 37, ratio=ratio, pace=SLOW)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.wait(ctx, moment)
        before = [len(memory.bursts) for memory in rig.memories]
        await rig.clocks.reset(ctx, rig.clocks.sync)
        stopped = await rig.bursts_when_stopped(ctx)
        # What was asked for already, and what the bus's clock asks for until it sees the stop.
        assert all(count - old <= 3 for count, old in zip(stopped, before, strict=True))
        await rig.set_up(ctx)
        await rig.play(ctx, rig.words)
        rig.expect_start(stopped)

    rig.run(bench)


@pytest.mark.parametrize("ratio", [1.0, 4.0, 0.25])
def test_a_reset_of_the_bus_between_tokens_is_not_noticed(ratio: float) -> None:
    rig = Rig("axi64x2", 37, ratio=ratio, pace=SLOW)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.play(ctx, rig.words)
        for cycles, wait in ((1, 0), (9, 0), (1, 150)):
            await rig.clocks.reset(ctx, rig.clocks.bus, cycles)
            await rig.wait(ctx, wait)
        await rig.wait(ctx, 20)
        await rig.restart(ctx)
        ctx.set(rig.source.playing, 1)
        await rig.play(ctx, 2 * rig.words)

    rig.run(bench)
    assert rig.timeouts == 0


@pytest.mark.parametrize("ratio", [1.0, 4.0, 0.25])
def test_a_reset_of_the_bus_gives_the_pass_up_and_the_next_is_exact(ratio: float) -> None:
    rig = Rig("axi64x2", 37, ratio=ratio, pace=SLOW)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        ctx.set(rig.source.playing, 1)
        await rig.play(ctx, 10)
        await rig.clocks.reset(ctx, rig.clocks.bus)
        await rig.wait(ctx, 30)
        assert rig.timeouts == 1
        assert await rig.play(ctx, rig.words - 10) == rig.words - 10
        for _ in range(2):
            await rig.restart(ctx)
            await rig.play(ctx, rig.words)

    rig.run(bench)
    assert rig.timeouts == 1


@pytest.mark.parametrize("memory", ["axi64", "axi64x4"])
def test_an_error_is_told_with_its_word(memory: str) -> None:
    """In whichever group, and in no pass without it."""
    rig = Rig(memory, 37, pace=SLOW)
    wrong = [(n * 11 % rig.words, n % rig.num_groups) for n in range(1, 6)]

    async def bench(ctx: Any) -> None:
        for memory in rig.memories:
            memory.errors = set()
        for word, group in wrong:
            memory = rig.memories[group]
            memory.errors |= {memory.base + word * rig.port_bytes}
        await rig.set_up(ctx)
        await rig.play(ctx, 2 * rig.words, eager=0.8)
        told = len(rig.responses)
        assert told == 2 * len({word for word, _ in wrong})
        for memory in rig.memories:
            memory.errors = set()
        # A word in the ring was read when it still was wrong.
        await rig.set_up(ctx)
        rig.taken = 0
        await rig.play(ctx, rig.words)
        assert len(rig.responses) == told

    rig.run(bench)


@pytest.mark.parametrize("resets_bus", [False, True])
def test_a_word_that_does_not_come_is_given_up(resets_bus: bool) -> None:
    """The pass comes to its end, and the next one is exact if the memory answers again."""
    rig = Rig("axi64x2", 37)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.wait(ctx, 2 * TIMEOUT)
        ctx.set(rig.source.playing, 1)
        rig.memories[1].silent = True
        while ctx.get(rig.source.words.available):
            rig.order()
            await rig.tick(ctx)
        waited = 1
        while not ctx.get(rig.source.timeout):
            # While the source is paused nothing is waited for.
            ctx.set(rig.source.pause, waited == 1 and rig.rng.random() < 0.9)
            if not ctx.get(rig.source.pause):
                waited += 1
            await rig.tick(ctx)
        assert waited == TIMEOUT
        await rig.wait(ctx, 2)
        assert rig.timeouts == 1
        left = 3 * rig.words - rig.taken % rig.words
        assert await rig.play(ctx, left) == left
        rig.memories[1].silent = False
        if resets_bus:
            await rig.clocks.reset(ctx, rig.clocks.bus)
        for _ in range(2):
            await rig.restart(ctx)
            await rig.play(ctx, rig.words)

    rig.run(bench)
    assert rig.timeouts == 1


def test_what_never_answers_is_given_up_in_each_pass() -> None:
    """From the start on, also when beats are under way that never come."""
    rig = Rig("axi64", 37)

    async def bench(ctx: Any) -> None:
        rig.memories[0].silent = True
        await rig.set_up(ctx)
        ctx.set(rig.source.playing, 1)
        for number in range(1, 4):
            await rig.restart(ctx)
            begin = rig.cycle
            while rig.timeouts < number:
                await rig.tick(ctx)
            assert rig.cycle - begin in range(TIMEOUT - 1, TIMEOUT + 4)
            await rig.wait(ctx, 2)
            assert await rig.play(ctx, rig.words) == rig.words
        ctx.set(rig.source.playing, 0)
        await rig.wait(ctx, 2 * TIMEOUT)

    rig.run(bench)
    assert rig.timeouts == 3


@pytest.mark.parametrize(
    ("index", "value"), [(None, 0), (2, 0), (3, 0), (3, MOST_WORDS + 1), (3, 1 << 39)]
)
def test_nothing_is_read_before_all_settings_have_values(index: int | None, value: int) -> None:
    """The embedding's region may have any; a number of words must be one that there can be."""
    rig = Rig("axi64x2", 37)

    async def bench(ctx: Any) -> None:
        if index is None:
            for entry in (3, 0, 2):
                await rig.write(ctx, entry, rig.words if entry == 3 else BASE)
        else:
            await rig.set_up(ctx, {index: value})
        await rig.wait(ctx, 4 * QUIET_CYCLES)
        reads = index == 2
        assert all(bool(memory.bursts) == reads for memory in rig.memories)
        assert ctx.get(rig.source.words.available) == reads
        await rig.set_up(ctx)
        await rig.play(ctx, rig.words)

    rig.run(bench)


def test_other_settings_are_another_image() -> None:
    """Written between tokens, whether words are left in the rings or a pass was given up."""
    rig = Rig("axi64x2", 37)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.play(ctx, rig.words)
        for words in (52, MOST_WORDS, 3):
            rig.words, rig.taken = words, 0
            for memory in rig.memories:
                memory.base += 7 * PAGE_BYTES
                memory.data = rig.rng.randbytes(words * rig.port_bytes)
            for index in rig.rng.sample(range(4), 4):
                value = words if index == 3 else BASE
                value = rig.memories[index].base if index < 2 else value
                await rig.write(ctx, index, value)
                await rig.wait(ctx, rig.rng.choice([0, 3, QUIET_CYCLES, 4 * QUIET_CYCLES]))
            await rig.restart(ctx)
            await rig.play(ctx, words + 1)

    rig.run(bench)


def test_pause_withholds_the_words() -> None:
    rig = Rig()

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.wait(ctx, 4 * QUIET_CYCLES)
        for pause in (0, 1, 0):
            ctx.set(rig.source.pause, pause)
            assert ctx.get(rig.source.words.available) == 1 - pause
        ctx.set(rig.source.playing, 1)
        ctx.set(rig.source.pause, 1)
        await rig.wait(ctx, 2 * TIMEOUT)

    rig.run(bench)
    assert rig.timeouts == 0
