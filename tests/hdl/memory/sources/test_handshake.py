"""How readers are stopped and started, when to wait no longer, and what a host has set."""

from __future__ import annotations

from typing import Any

import pytest

from hdl.memory.sources.handshake import QUIET_CYCLES, Handshake
from hdl.memory.sources.settings import Settings
from hdl.memory.sources.watchdog import Watchdog
from tests.support.hdl.bench import simulate
from tests.support.hdl.values import small_design


async def cycles_until(ctx: Any, signal: Any) -> int:
    """Cycles until it is 1."""
    for cycle in range(10 * QUIET_CYCLES):
        if ctx.get(signal):
            return cycle
        await ctx.tick()
    raise AssertionError("it never is")


def test_a_start_takes_each_step_in_turn() -> None:
    """Both readers stopped, rings cleared, something to read, both started."""
    block = Handshake(2)

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            assert ctx.get(block.stop)
            # Until then `stopped` may tell of the time before.
            ctx.set(block.stopped, 0b11)
            await ctx.tick().repeat(QUIET_CYCLES - 1)
            ctx.set(block.stopped, 0b01)
            await ctx.tick().repeat(3 * QUIET_CYCLES)
            assert not ctx.get(block.clear)
            ctx.set(block.stopped, 0b11)
            await ctx.tick()
            for _ in range(QUIET_CYCLES):
                assert ctx.get(block.clear)
                await ctx.tick()
            assert not ctx.get(block.clear)
            await ctx.tick().repeat(2 * QUIET_CYCLES)
            assert ctx.get(block.stop)
            ctx.set(block.enable, 1)
            await ctx.tick()
            assert not ctx.get(block.stop)
            ctx.set(block.enable, 0)
            await ctx.tick().repeat(QUIET_CYCLES // 2)
            ctx.set(block.stopped, 0b10)
            await ctx.tick().repeat(5)
            assert not ctx.get(block.running)
            ctx.set(block.stopped, 0b00)
            await ctx.tick()
            await ctx.tick().repeat(2 * QUIET_CYCLES)
            assert ctx.get(block.running)
            ctx.set(block.stopped, 0b10)
            assert ctx.get(block.lost)
            assert not ctx.get(block.running)
            ctx.set(block.again, 1)
            await ctx.tick()
            ctx.set(block.again, 0)
            assert not ctx.get(block.lost)

    simulate(block, bench)


def test_a_reader_that_does_not_start_is_stopped_again() -> None:
    """Its bus was reset in between: it waits for another stop."""
    block = Handshake(1)

    async def bench(ctx: Any) -> None:
        ctx.set(block.stopped, 1)
        ctx.set(block.enable, 1)
        await cycles_until(ctx, ~block.stop)
        assert await cycles_until(ctx, block.stop) == QUIET_CYCLES
        assert await cycles_until(ctx, ~block.stop) == 2 * QUIET_CYCLES + 2

    simulate(block, bench)


@pytest.mark.parametrize("moment", range(0, 4 * QUIET_CYCLES, 31))
def test_again_stops_for_long_enough_in_any_state(moment: int) -> None:
    """However short the time since the last stop or start."""
    block = Handshake(1)

    async def bench(ctx: Any) -> None:
        ctx.set(block.enable, 1)
        for _ in range(moment + 1):
            # Readers that obey at once.
            ctx.set(block.stopped, ctx.get(block.stop))
            await ctx.tick()
        ctx.set(block.again, 1)
        await ctx.tick()
        ctx.set(block.again, 0)
        assert ctx.get(block.stop)
        ctx.set(block.stopped, 1)
        assert await cycles_until(ctx, block.clear) == QUIET_CYCLES + 1
        assert await cycles_until(ctx, ~block.stop) == QUIET_CYCLES + 1

    simulate(block, bench)


def test_what_does_not_come_in_time_is_given_up_once() -> None:
    block = Watchdog(5)

    async def bench(ctx: Any) -> None:
        async def told(waiting: int, lost: int = 0, again: int = 0) -> tuple[int, int]:
            ctx.set(block.waiting, waiting)
            ctx.set(block.lost, lost)
            ctx.set(block.again, again)
            seen = ctx.get(block.timeout), ctx.get(block.gave_up)
            await ctx.tick()
            return seen

        for _ in range(2):
            # A word in between begins the time anew.
            assert [await told(n != 4) for n in range(8)] == [(0, 0)] * 8
            assert [await told(1) for _ in range(9)] == [(0, 0), (1, 0)] + [(0, 1)] * 7
            assert await told(0, again=1) == (0, 1)
            assert await told(0) == (0, 0)
            assert await told(0, lost=1) == (1, 0)
            assert [await told(0, lost=1) for _ in range(9)] == [(0, 1)] * 9
            assert await told(0, again=1) == (0, 1)

    simulate(block, bench)


def test_settings_are_complete_with_a_value_for_each_entry() -> None:
    """Bytes beyond a page are none; words of a pass are 1 to ``weight_words``."""
    design = small_design(5, 8, 8, weight_code="1.6", memory="axi64", weight_words=13)
    block = Settings(design)

    async def bench(ctx: Any) -> None:
        async def write(index: int, value: int) -> None:
            ctx.set(block.write.index, index)
            ctx.set(block.write.value, value)
            ctx.set(block.write.enable, 1)
            await ctx.tick()
            ctx.set(block.write.enable, 0)
            ctx.set(block.write.value, 0)
            await ctx.tick()

        for words, complete in ((0, 0), (14, 0), (1 << 39, 0), (13, 1), (1, 1), (14, 0), (8, 1)):
            await write(2, words)
            assert not ctx.get(block.complete) or ctx.get(block.regions[0])
            await write(0, 0xFE_DCBA_9876)
            if not ctx.get(block.regions[1]):
                assert not ctx.get(block.complete)
            await write(1, 0x12_3456_7000)
            assert ctx.get(block.regions[0]) == 0xFE_DCBA_9000
            assert ctx.get(block.regions[1]) == 0x12_3456_7000
            assert ctx.get(block.complete) == complete
            if complete:
                assert ctx.get(block.last_word) == words - 1

    simulate(block, bench)
