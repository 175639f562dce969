"""A source of weights that has a segment's check word late: a clean chip finds no fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hdl.accelerator import Accelerator
from mmfree.chip.layout import layout
from mmfree.golden.pow2 import Golden
from tests.support.hdl.bench import simulate
from tests.support.sim.shapes import TINY

SHORT = replace(TINY, lanes=16)
"""A segment has at most 3 words: its only page reaches the CRC right after the first of them."""

LATEST = 60
"""Cycles within which the vector is complete that the next segment waits for anyway."""


@pytest.mark.slow
def test_check_words_may_come_as_late_as_they_like() -> None:
    tape, design = SHORT.tape(1, wild=False), SHORT.design()
    chip, golden = Accelerator(design, layout(tape, design)), Golden(tape)
    take = chip.blocks.sequencer.take

    async def withhold(ctx: Any, late: int) -> None:
        """Play a token; each check word comes ``late`` cycles after it is asked for."""
        ctx.set(chip.request.valid, 1)
        left = 0
        while not (ctx.get(chip.result.valid) or ctx.get(chip.fault.valid)):
            left = late if ctx.get(take.last) else max(0, left - 1)
            ctx.set(chip.pause, left > 0)
            await ctx.tick()
            ctx.set(chip.request.valid, ctx.get(~chip.playing & chip.request.valid))

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(8)
        ctx.set(chip.request.payload.token.begin, 1)
        ctx.set(chip.request.payload.limit, 1)
        logits, _ = golden.step(np.array([0]), golden.state())
        for late in range(LATEST):
            await withhold(ctx, late)
            fault = ctx.get(chip.fault.payload)
            assert not ctx.get(chip.fault.valid), f"{late} cycles late: fault {fault}"
            assert ctx.get(chip.result.payload.row) == logits[0].argmax()
            ctx.set(chip.result.ready, 1)
            await ctx.tick()
            ctx.set(chip.result.ready, 0)
            await ctx.tick().repeat(4)

    simulate(chip, bench)
