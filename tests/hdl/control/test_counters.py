"""Counters."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.hdl import Const, Module
from amaranth.sim import Simulator

from hdl.arithmetic.adder import count_ones
from hdl.control.counters import SETTLE_CYCLES, Counters
from hdl.payloads import COUNTERS, CYCLE_COUNTERS
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
