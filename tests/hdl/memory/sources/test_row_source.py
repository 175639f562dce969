"""Rows of the embedding from an external memory: each whole, whatever memory and host do."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from hdl.memory.sources.rows import RowSource
from mmfree.chip.external_memory import PAGE_BYTES, ROW_BYTES, find_memory
from mmfree.chip.memory_map import row_beats, row_bytes
from tests.support.hdl.axi_memory import AxiMemory, Pace, TwoClocks
from tests.support.hdl.bench import play_streams
from tests.support.hdl.streams import Carried, Monitor, get
from tests.support.hdl.streams import Pace as StreamPace
from tests.support.hdl.values import small_design

TIMEOUT = 400
BASE = (1 << 39) + 3 * PAGE_BYTES
"""Beyond 32 bits."""

SLOW = Pace(latency=(10, 40), busy=0.3, withheld=0.2, stray=0.3)
ROWS = 75


class Rig:
    """A source of rows, the memory behind it, and what a bench does with them."""

    def __init__(
        self,
        memory: str = "axi64",
        tiles: int = 5,
        *,
        ratio: float = 1.0,
        pace: Pace | None = None,
    ) -> None:
        external = find_memory(memory)
        assert external is not None
        self.design = small_design(
            external.rows,
            external.columns,
            external.columns,
            weight_code="1.6",
            memory=memory,
            embedding_rows=ROWS,
            embedding_width=tiles * external.columns,
        )
        self.beats, self.port_bytes = row_beats(self.design), external.port_bytes
        self.source = RowSource(self.design, TIMEOUT)
        self.clocks = TwoClocks(self.source, ratio)
        data = random.Random(7).randbytes(ROWS * row_bytes(self.design))
        self.memory = AxiMemory(self.source.axi, data, base=BASE, pace=pace or Pace())
        self.timeouts = 0

    def run(
        self, bench: Callable[[Any], Coroutine[Any, Any, None]], *, resets_chip: bool = False
    ) -> None:
        # A reset may withdraw what is offered.
        watching = [] if resets_chip else [Monitor(self.source).watch]
        self.clocks.run(bench, [self.memory], self.count_timeouts, *watching)

    async def count_timeouts(self, ctx: Any) -> None:
        while True:
            *_, timeout = await ctx.tick().sample(self.source.timeout)
            self.timeouts += timeout

    async def set_up(self, ctx: Any) -> None:
        settings = self.source.settings
        values = [0] * (self.design.num_groups + 2)
        values[-2:] = [self.memory.base, 1]
        ctx.set(settings.enable, 1)
        for index, value in enumerate(values):
            ctx.set(settings.index, index)
            ctx.set(settings.value, value)
            await ctx.tick()
        ctx.set(settings.enable, 0)

    async def order(self, ctx: Any, number: int) -> None:
        ctx.set(self.source.row.id, number)
        ctx.set(self.source.row.start, 1)
        await ctx.tick()
        ctx.set(self.source.row.start, 0)

    async def read(self, ctx: Any, number: int, back_pressure: float = 0.0) -> list[dict[str, int]]:
        await self.order(ctx, number)
        return await get(ctx, self.source.beats, self.beats, back_pressure=back_pressure)

    def row(self, number: int) -> list[dict[str, int]]:
        """What the beats of a row should be."""
        first = number * row_bytes(self.design)
        addresses = range(first, first + self.beats * self.port_bytes, self.port_bytes)
        return [
            {
                "data": int.from_bytes(self.memory.data[n : n + self.port_bytes], "little"),
                "response": int(BASE + n in self.memory.errors),
            }
            for n in addresses
        ]


@pytest.mark.parametrize("ratio", [1.0, 1.5, 1 / 3, 4.0, 0.25])
@pytest.mark.parametrize(
    ("memory", "tiles"),
    [("axi64", 1), ("axi64x2", 70), ("axi128", 7), ("axi256", 20), ("axi512", 9)],
)
def test_each_row_comes_whole(memory: str, tiles: int, ratio: float) -> None:
    """In any order, also longer than the ring; the next may be ordered at once."""
    rig = Rig(memory, tiles, ratio=ratio, pace=SLOW)
    numbers = [0, ROWS - 1, *random.Random(tiles).sample(range(ROWS), 2)]

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        ctx.set(rig.source.playing, 1)
        for number, back_pressure in zip(numbers, (0.0, 0.5, 0.0, 0.8), strict=True):
            assert await rig.read(ctx, number, back_pressure) == rig.row(number)

    rig.run(bench)
    assert rig.timeouts == 0
    # Whole pieces of 64 bytes, and no more of them than the row has.
    piece = ROW_BYTES // rig.port_bytes
    pieces = row_bytes(rig.design) // ROW_BYTES
    assert [burst.beats for burst in rig.memory.bursts] == [piece] * pieces * len(numbers)


def test_many_pieces_are_under_way() -> None:
    """A row is there soon after the latency of one piece, not of each."""
    rig = Rig("axi512", 60, pace=Pace(latency=(200, 200)))

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await ctx.tick().repeat(200)
        await rig.order(ctx, 11)
        ctx.set(rig.source.beats.ready, 1)
        cycles = 0
        while not ctx.get(rig.source.beats.valid):
            cycles += 1
            await ctx.tick()
        assert cycles < 230
        await ctx.tick().repeat(2 * 62)
        assert not ctx.get(rig.source.beats.valid)

    rig.run(bench)
    assert max(burst.under_way for burst in rig.memory.bursts) > 50


def test_errors_are_told_with_their_beats() -> None:
    rig = Rig("axi64", 6, pace=SLOW)
    first = BASE + 9 * row_bytes(rig.design)
    rig.memory.errors = {first, first + 24, first + 48}

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        for number in (8, 9, 10):
            row = await rig.read(ctx, number, 0.3)
            assert row == rig.row(number)
            assert sum(beat["response"] for beat in row) == 3 * (number == 9)

    rig.run(bench)


@pytest.mark.parametrize("resets_bus", [False, True])
def test_a_row_that_does_not_come_is_given_up(resets_bus: bool) -> None:
    """All of its beats come nevertheless, and the next row is exact if the memory answers again."""
    rig = Rig("axi64", 20, pace=Pace(withheld=0.8))
    source = rig.source

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await ctx.tick().repeat(TIMEOUT)
        ctx.set(source.playing, 1)
        await rig.order(ctx, 3)
        assert await get(ctx, source.beats, 4) == rig.row(3)[:4]
        while rig.memory.beats < 12:
            await ctx.tick()
        rig.memory.silent = True
        assert rig.memory.beats == 12
        assert await get(ctx, source.beats, 8) == rig.row(3)[4:12]
        waited = 0
        while not ctx.get(source.timeout):
            waited += 1
            await ctx.tick()
        assert waited in range(TIMEOUT - 3, TIMEOUT + 1)
        ctx.set(source.beats.ready, 1)
        await ctx.tick().repeat(3 + rig.beats - 12)
        assert not ctx.get(source.beats.valid)
        await ctx.tick().repeat(2 * TIMEOUT)
        ctx.set(source.beats.ready, 0)
        rig.memory.silent = False
        if resets_bus:
            await rig.clocks.reset(ctx, rig.clocks.bus)
        for number in (4, 3):
            assert await rig.read(ctx, number) == rig.row(number)

    rig.run(bench)
    assert rig.timeouts == 1


@pytest.mark.parametrize("ratio", [1.0, 4.0, 0.25])
def test_a_reset_of_the_bus_gives_the_row_up_and_the_next_is_exact(ratio: float) -> None:
    rig = Rig("axi64", 20, ratio=ratio, pace=SLOW)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        ctx.set(rig.source.playing, 1)
        await rig.order(ctx, 3)
        assert await get(ctx, rig.source.beats, 4) == rig.row(3)[:4]
        await rig.clocks.reset(ctx, rig.clocks.bus)
        await get(ctx, rig.source.beats, rig.beats - 4)
        assert rig.timeouts == 1
        for number in (3, 5):
            assert await rig.read(ctx, number) == rig.row(number)
        # Between rows nothing is lost.
        await rig.clocks.reset(ctx, rig.clocks.bus)
        assert await rig.read(ctx, 6) == rig.row(6)

    rig.run(bench)
    assert rig.timeouts == 1


@pytest.mark.parametrize(
    ("ratio", "moment"),
    [(1.0, 1), (1.0, 140), (1.0, 155), (4.0, 5), (4.0, 155), (0.25, 140), (0.25, 170)],
)
def test_a_reset_of_the_chip_leaves_no_beat_behind(ratio: float, moment: int) -> None:
    rig = Rig("axi64", 20, ratio=ratio, pace=SLOW)

    async def bench(ctx: Any) -> None:
        await rig.set_up(ctx)
        await rig.order(ctx, 3)
        await ctx.tick().repeat(moment)
        await rig.clocks.reset(ctx, rig.clocks.sync)
        assert not ctx.get(rig.source.beats.valid)
        await rig.set_up(ctx)
        await rig.order(ctx, 5)
        await ctx.tick().repeat(70)
        begun = len(rig.memory.bursts)
        assert await get(ctx, rig.source.beats, rig.beats) == rig.row(5)
        assert rig.memory.bursts[begun].under_way == 0
        assert rig.memory.bursts[begun].address == BASE + 5 * row_bytes(rig.design)

    rig.run(bench, resets_chip=True)


def test_before_the_settings_a_row_waits() -> None:
    """And without an answer it is given up, as from a memory that has none."""
    rig = Rig()

    async def bench(ctx: Any) -> None:
        await rig.order(ctx, 3)
        await ctx.tick().repeat(2 * TIMEOUT)
        assert rig.timeouts == 0
        ctx.set(rig.source.playing, 1)
        await get(ctx, rig.source.beats, rig.beats)
        assert rig.timeouts == 1
        await rig.set_up(ctx)
        assert await rig.read(ctx, 3) == rig.row(3)

    rig.run(bench)


def play_rows(pace: StreamPace, numbers: Sequence[int] = (3, 0, 74)) -> Carried:
    """Rows, one after another, at the pace of who takes them."""
    rig = Rig("axi64", 7, pace=SLOW)
    source = rig.source

    async def order(ctx: Any) -> None:
        await rig.set_up(ctx)
        for number in numbers:
            await rig.order(ctx, number)
            given = 0
            while given < rig.beats:
                _, _, valid, ready = await ctx.tick().sample(source.beats.valid, source.beats.ready)
                given += valid & ready

    expected = [beat for number in numbers for beat in rig.row(number)]
    return play_streams(source, {"beats": expected}, pace, rig.memory.serve, order)
