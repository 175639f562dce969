"""A reset in the middle of anything: what was in progress leaves no trace."""

from __future__ import annotations

import re
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hdl.accelerator import Accelerator
from hdl.arithmetic.product import Product
from hdl.arithmetic.square import Square
from mmfree.chip.layout import layout
from mmfree.host.interface import Request, Result
from sim.cosim.due import Model
from tests.support.hdl.chip import ChipHost
from tests.support.hdl.components import instance
from tests.support.sim.shapes import TINY

MOMENTS = (3, 9, 12, 16, 21, 30, 41, 58, 75, 93, 120, 150)
"""Cycles of a token after which the chip is reset, for one cycle."""


def test_a_reset_in_any_cycle_of_a_token_leaves_no_trace() -> None:
    """Of a token, its results or its faults: the next one, with ``begin``, is as the first was."""
    tape, design = TINY.tape(1, wild=False), TINY.design()
    chip, model = Accelerator(design, layout(tape, design)), Model(tape)
    domain = ClockDomain("sync")
    m = Module()
    m.domains.sync = domain
    m.submodules.chip = chip
    logits, row, _ = model.play(3, True)
    state = model.state.ravel().tolist()

    async def reset(ctx: Any) -> None:
        ctx.set(domain.rst, 1)
        await ctx.tick()
        ctx.set(domain.rst, 0)

    async def bench(ctx: Any) -> None:
        host = ChipHost(ctx, chip)
        cycles = 0
        for moment in MOMENTS:
            ctx.set(chip.request.payload, {"token": {"id": 4, "begin": 1}, "limit": 9})
            ctx.set(chip.request.valid, 1)
            await host.until(chip.request.ready)
            await ctx.tick()
            ctx.set(chip.request.valid, 0)
            await ctx.tick().repeat(moment)
            await reset(ctx)
            assert not ctx.get(chip.playing | chip.result.valid | chip.fault.valid)
            assert await host.play(Request(token=3, begin=True)) == Result(row, True)
            assert await host.logits(len(logits) // design.post_width) == logits.tolist()
            assert await host.state(design.state_words) == state
            counters = await host.counters()
            cycles = cycles or counters["cycles"]
            assert counters["cycles"] == cycles
        assert max(MOMENTS) < cycles

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("kind", [Product, Square], ids=lambda kind: kind.__name__)
def test_units_of_data_have_no_reset(kind: type[wiring.Component]) -> None:
    """It would cost a route to each of their registers."""
    text = rtlil.convert(instance(kind), name="unit", emit_src=False)
    assert "cell $dff " in text
    assert len(re.findall(r"\\rst\b", text)) == 1, "only the wire itself"
