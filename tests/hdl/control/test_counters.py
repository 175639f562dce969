"""Counters."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.hdl import Const, Module
from amaranth.sim import Simulator

from hdl.arithmetic.adder import count_ones
from hdl.control.counters import SETTLE_CYCLES, Counters
from mmfree.chip.exchange import COUNTERS, CYCLE_COUNTERS
from mmfree.contract.pow2 import SATURATION_SITES
from tests.support.hdl.bench import simulate


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 16])
def test_every_set_bit_counts(bits: int) -> None:
    for value in {0, 1, (1 << bits) - 1, 0b1011001 & ((1 << bits) - 1)}:
        total = count_ones(Const(value, bits))

        async def bench(ctx: Any, total: Any = total, value: int = value) -> None:
            assert ctx.get(total) == value.bit_count()

        simulator = Simulator(Module())
        simulator.add_testbench(bench)
        simulator.run()


def test_each_counter_counts_its_own() -> None:
    flags = dict.fromkeys(SATURATION_SITES, 4)
    block = Counters(flags, 15)
    sources = {
        "cycles": block.busy,
        "beats": block.admitted,
        **{name: block.waits[name.removeprefix("wait_")] for name in CYCLE_COUNTERS[2:]},
        **{f"saturated_{site}": block.saturated[site] for site in SATURATION_SITES},
    }
    assert list(sources) == list(COUNTERS)

    async def bench(ctx: Any) -> None:
        get, put, tick = ctx.get, ctx.set, ctx.tick
        for name, source in sources.items():
            put(block.clear, 1)
            await tick()
            put(block.clear, 0)
            step = 0b1011 if name.startswith("saturated") else 1
            put(source, step)
            await tick().repeat(5)
            put(source, 0)
            await tick().repeat(SETTLE_CYCLES + 1)
            counts = {other: get(block.counters[other]) for other in COUNTERS}
            assert counts == {**dict.fromkeys(COUNTERS, 0), name: 5 * step.bit_count()}

    simulate(block, bench)


@pytest.mark.parametrize("most", [1, 3, 4, 255, 256])
def test_saturations_are_counted_up_to_the_most_that_there_can_be(most: int) -> None:
    """A counter has the bits for it, and no more; cycles have 32."""
    site = SATURATION_SITES[0]
    block = Counters(dict.fromkeys(SATURATION_SITES, 1), most)

    async def bench(ctx: Any) -> None:
        for more, expected in ((0, most), (1, (most + 1) % (1 << most.bit_length()))):
            ctx.set(block.clear, 1)
            await ctx.tick()
            ctx.set(block.clear, 0)
            ctx.set(block.saturated[site], 1)
            ctx.set(block.busy, 1)
            await ctx.tick().repeat(most + more)
            ctx.set(block.saturated[site], 0)
            ctx.set(block.busy, 0)
            await ctx.tick().repeat(SETTLE_CYCLES)
            assert ctx.get(block.counters.cycles) == most + more
            await ctx.tick().repeat(2)
            assert ctx.get(block.counters[f"saturated_{site}"]) == expected
            # Nothing is counted that comes later.
            await ctx.tick().repeat(3)
            assert ctx.get(block.counters.cycles) == most + more

    simulate(block, bench)


def test_every_flag_of_every_site_is_counted_in_the_same_cycle() -> None:
    """More flags than a first sum takes, of sites that differ in them."""
    flags = {site: 5 + 6 * n for n, site in enumerate(SATURATION_SITES)}
    block = Counters(flags, 1000)

    async def bench(ctx: Any) -> None:
        for site, bits in flags.items():
            ctx.set(block.saturated[site], (1 << bits) - 1)
        await ctx.tick()
        for site in flags:
            ctx.set(block.saturated[site], 0)
        await ctx.tick().repeat(SETTLE_CYCLES + 2)
        for site, bits in flags.items():
            assert ctx.get(block.counters[f"saturated_{site}"]) == bits

    simulate(block, bench)
