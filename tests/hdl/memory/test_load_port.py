"""The load port: a write reaches one memory, or is refused and reaches none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.accelerator import Accelerator
from hdl.memory.load_port import SETTLE_CYCLES, LoadPort
from mmfree.chip.memory_map import LOAD_BITS, LOADED_MEMORIES, loaded_shape
from tests.support.hdl.bench import simulate
from tests.support.sim.shapes import ODD

DESIGN = ODD.design()
SHAPES = [loaded_shape(DESIGN, name) for name in LOADED_MEMORIES]
WORDS = max(shape.depth for shape in SHAPES)
PARTS = max(shape.parts for shape in SHAPES)


def near_the_limits(rng: random.Random) -> tuple[int, int, int, int]:
    """(memory, word, part, data), each below, at or just beyond what the memory has."""
    memory = rng.randrange(len(SHAPES) + 1)
    shape = SHAPES[min(memory, len(SHAPES) - 1)]
    word = rng.choice([0, shape.depth - 1, shape.depth, rng.randrange(WORDS + 1)])
    part = rng.choice([0, shape.parts - 1, shape.parts, rng.randrange(PARTS + 1)])
    data = rng.choice([0, 1 << shape.part_bits, rng.getrandbits(LOAD_BITS), (1 << LOAD_BITS) - 1])
    data = rng.choice([data, data & (1 << shape.part_bits) - 1])
    return memory, min(word, WORDS), min(part, PARTS), data & (1 << LOAD_BITS) - 1


def fits(memory: int, word: int, part: int, data: int) -> bool:
    """Whether there is such a part, and it has such bits."""
    if memory >= len(SHAPES):
        return False
    shape = SHAPES[memory]
    return word < shape.depth and part < shape.parts and data < 1 << shape.part_bits


@pytest.mark.parametrize("seed", range(3))
def test_a_write_is_carried_out_or_refused(seed: int) -> None:
    """Back to back and with idle cycles, while a token is played and while none is."""
    port, rng = LoadPort(DESIGN), random.Random(seed)
    asked: list[tuple[int, int, int, int] | None] = []
    busy: list[int] = []

    async def bench(ctx: Any) -> None:
        outputs = [getattr(port.writes, name) for name in LOADED_MEMORIES]
        refused, counts = 0, {True: 0, False: 0}
        for cycle in range(1500):
            # Often, and then seldom.
            often = cycle % 200 < 100
            write = near_the_limits(rng) if rng.random() < (0.7 if often else 0.05) else None
            asked.append(write)
            busy.append(rng.random() < 0.1)
            ctx.set(port.busy, busy[-1])
            ctx.set(port.host.enable, write is not None)
            names = ("memory", "word", "part", "data")
            for name, value in zip(names, write or near_the_limits(rng), strict=True):
                ctx.set(getattr(port.host, name), value)
            await ctx.tick()
            due = asked[cycle - 1] if cycle else None
            written = {
                n: (ctx.get(o.word), ctx.get(o.part), ctx.get(o.data))
                for n, o in enumerate(outputs)
                if ctx.get(o.enable)
            }
            if due is None:
                assert not written
            else:
                accepted = fits(*due) and not busy[cycle - 1]
                counts[accepted] += 1
                refused = int(not accepted)
                assert written == ({due[0]: due[1:]} if accepted else {})
            assert ctx.get(port.host.refused) == refused
            ages = [age for age, item in enumerate(reversed(asked)) if item is not None]
            if ages and ages[0] < SETTLE_CYCLES:
                assert ctx.get(port.settling)
            elif not ages or ages[0] > SETTLE_CYCLES + 1:
                assert not ctx.get(port.settling)
        assert min(counts.values()) > 50

    simulate(port, bench)


def test_no_request_is_taken_from_the_cycle_of_a_write_until_the_word_is_read() -> None:
    """On the whole chip: a token would play the old word."""
    chip = Accelerator(DESIGN)

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(8)
        assert ctx.get(chip.request.ready)
        ctx.set(chip.load.enable, 1)
        waited = 0
        while not ctx.get(chip.request.ready):
            await ctx.tick()
            ctx.set(chip.load.enable, 0)
            waited += 1
        assert SETTLE_CYCLES < waited < SETTLE_CYCLES + 5

    simulate(chip, bench)
