"""A read master of AXI4: what it asks for, and when it stops."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from hdl.memory.sources.burst_reader import BurstReader
from mmfree.chip.external_memory import PAGE_BYTES
from tests.support.hdl.axi_memory import AxiMemory, Pace, TwoClocks

DEPTH = 64
PATIENCE = 300
"""Cycles in which a beat comes."""

BASE = (1 << 40) - 4 * PAGE_BYTES


class Rig:
    """A reader, the memory behind it, and the chip's side of the handshake."""

    def __init__(
        self,
        bits: int = 64,
        beats: int = 100,
        burst: int = 16,
        *,
        repeats: bool = True,
        pace: Pace | None = None,
        base: int = BASE,
    ) -> None:
        self.beats = beats
        self.reader = BurstReader(bits, beats, depth=DEPTH, burst=burst, repeats=repeats)
        self.clocks = TwoClocks(self.reader)
        data = random.Random(5).randbytes(beats * bits // 8)
        self.memory = AxiMemory(self.reader.axi, data, base=base, pace=pace or Pace())

    def run(self, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        self.clocks.run(bench, [self.memory])

    async def start(self, ctx: Any) -> None:
        reader = self.reader
        ctx.set(reader.stop, 1)
        await ctx.tick().repeat(8)
        for _ in range(PATIENCE):
            if not ctx.get(reader.stopped):
                await ctx.tick()
        assert ctx.get(reader.stopped)
        ctx.set(reader.clear, 1)
        ctx.set(reader.start, self.memory.base)
        ctx.set(reader.last, self.beats - 1)
        await ctx.tick().repeat(8)
        ctx.set(reader.clear, 0)
        ctx.set(reader.stop, 0)
        await ctx.tick().repeat(8)
        assert not ctx.get(reader.stopped)
        # What begins now has been taken over.
        ctx.set(reader.start, random.Random(1).getrandbits(40))
        ctx.set(reader.last, 1)

    async def take(self, ctx: Any, beats: int) -> list[int]:
        reader, seen = self.reader, []
        waited = 0
        while len(seen) < beats and waited < PATIENCE:
            take = ctx.get(reader.level) > 0
            waited = 0 if take else waited + 1
            ctx.set(reader.take, take)
            await ctx.tick()
            if take:
                seen.append(ctx.get(reader.beat.data))
        ctx.set(reader.take, 0)
        return seen

    def expected(self, beats: int) -> list[int]:
        size = len(self.memory.data) // self.beats
        return [
            int.from_bytes(self.memory.data[n % self.beats * size :][:size], "little")
            for n in range(beats)
        ]


def test_as_many_bursts_are_under_way_as_the_ring_has_room_for() -> None:
    """However long the memory takes; and one more when there is room for all of it."""
    rig = Rig(pace=Pace(latency=(100, 100)))

    async def bench(ctx: Any) -> None:
        await rig.start(ctx)
        await ctx.tick().repeat(60)
        assert [burst.under_way for burst in rig.memory.bursts] == [0, 16, 32, 48]
        await ctx.tick().repeat(200)
        assert ctx.get(rig.reader.level) == DEPTH
        await rig.take(ctx, 15)
        await ctx.tick().repeat(20)
        assert len(rig.memory.bursts) == 4
        ctx.set(rig.reader.take, 1)
        await ctx.tick()
        ctx.set(rig.reader.take, 0)
        await ctx.tick().repeat(20)
        assert len(rig.memory.bursts) == 5

    rig.run(bench)


@pytest.mark.parametrize(
    ("bits", "burst", "beats"),
    [
        (64, 16, 33),
        (64, 8, 5),
        (128, 16, 16),
        (256, 2, 9),
        (512, 16, 40),
        (512, 1, 7),
        (512, 64, 80),
    ],
)
@pytest.mark.parametrize("repeats", [False, True])
def test_a_region_is_read_once_or_again_and_again(
    bits: int, burst: int, beats: int, repeats: bool
) -> None:
    """The last burst is shorter; none crosses a page, though the region begins before one's end."""
    rig = Rig(bits, beats, burst, repeats=repeats, base=BASE - burst * bits // 8)
    count = 3 * beats if repeats else beats

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            await rig.start(ctx)
            assert await rig.take(ctx, count) == rig.expected(count)
            if not repeats:
                assert await rig.take(ctx, 1) == []

    rig.run(bench)
    sizes = [burst] * (beats // burst) + ([beats % burst] if beats % burst else [])
    if not repeats:
        assert [b.beats for b in rig.memory.bursts] == 2 * sizes


def test_what_is_asked_for_stays_until_it_is_accepted_whatever_stops() -> None:
    """And its beats are awaited before the reader is stopped; then nothing is in the ring."""
    rig = Rig(pace=Pace(busy=1.0, latency=(30, 30)))
    reader, axi = rig.reader, rig.reader.axi

    async def bench(ctx: Any) -> None:
        await rig.start(ctx)
        ctx.set(reader.stop, 1)
        await ctx.tick().repeat(50)
        assert ctx.get(axi.arvalid)
        assert not ctx.get(reader.stopped)
        rig.memory.pace = Pace(latency=(30, 30))
        while not rig.memory.bursts:
            await ctx.tick()
        while not ctx.get(reader.stopped):
            await ctx.tick()
        assert rig.memory.beats == 16
        await ctx.tick().repeat(4)
        assert len(rig.memory.bursts) == 1
        await rig.start(ctx)
        assert await rig.take(ctx, 120) == rig.expected(120)

    rig.run(bench)


def test_beats_that_nobody_asked_for_are_dropped() -> None:
    """Stopped, and while all places are filled."""
    rig = Rig(pace=Pace(stray=0.7))

    async def bench(ctx: Any) -> None:
        ctx.set(rig.reader.stop, 1)
        await ctx.tick().repeat(50)
        await rig.start(ctx)
        await ctx.tick().repeat(200)
        assert ctx.get(rig.reader.level) == DEPTH
        assert await rig.take(ctx, 250) == rig.expected(250)

    rig.run(bench)


def test_after_a_reset_of_the_bus_it_waits_for_another_stop() -> None:
    """What it reads then cannot be mistaken for what it read before."""
    rig = Rig()
    reader = rig.reader

    async def bench(ctx: Any) -> None:
        for _ in range(3):
            await rig.start(ctx)
            assert await rig.take(ctx, 30) == rig.expected(30)
            await rig.clocks.reset(ctx, rig.clocks.bus)
            begun = len(rig.memory.bursts)
            await ctx.tick().repeat(50)
            assert ctx.get(reader.stopped)
            assert len(rig.memory.bursts) == begun

    rig.run(bench)
