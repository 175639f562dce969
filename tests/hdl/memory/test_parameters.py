"""Gains and lower bounds that come with the words of a record: each is read back, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdl.memory.parameters import LATENCY, Parameters, gain_words
from mmfree.chip.design import Design
from mmfree.chip.memory_map import (
    PARAMETER_BITS,
    group_bits,
    parameter_words,
    parameters_per_share,
    parameters_per_word,
)
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import IDLE, small_design


def design_of(rows: int, columns: int, post_width: int, **changes: Any) -> Design:
    sizes = {"post_width": post_width, "embedding_width": 3 * columns, "bias_words": 2 * rows}
    return small_design(
        rows, columns, 3 * columns, arithmetic="absmax", value_bits=32, **sizes | changes
    )


DESIGNS = {
    "one group": design_of(4, 4, 1),
    "two groups": design_of(8, 8, 2),
    "a share for a read": design_of(8, 4, 4),
    "a read of two shares": design_of(16, 16, 16, bias_words=3, weight_code="1.6"),
    "three groups": design_of(12, 8, 4, weight_code="1.67"),
    "ports": design_of(10, 8, 2, weight_code="1.6", memory="axi64x2"),
}


class Bench:
    """Sends records, and reads what they hold."""

    def __init__(self, design: Design, idle: float) -> None:
        self.design, self.idle = design, idle
        self.block, self.rng = Parameters(design), np.random.default_rng(5)
        self.under_way: list[bytes | None] = [None] * design.num_groups

    def record(self, words: int) -> tuple[list[bytes], list[int]]:
        """Words of a record, and the parameters that they hold, signed."""
        design, rng = self.design, self.rng
        bits, count = group_bits(design), parameters_per_share(design)
        sent, values = [], list[int]()
        for _ in range(words):
            word = 0
            for group in range(design.num_groups):
                share = int.from_bytes(rng.bytes(bits // 8 + 1), "little") % (1 << bits)
                word |= share << group * bits
                for n in range(count):
                    value = share >> n * PARAMETER_BITS & (1 << PARAMETER_BITS) - 1
                    values.append(value - (value >> PARAMETER_BITS - 1 << PARAMETER_BITS))
            sent.append(word.to_bytes(design.num_groups * bits // 8 + 1, "little"))
        return sent, values

    async def tick(self, ctx: Any, word: bytes | None = None) -> None:
        """A cycle; the share of group g comes g cycles after the first."""
        bits = group_bits(self.design)
        self.under_way = [word, *self.under_way[:-1]]
        for group, then in enumerate(self.under_way):
            value = int.from_bytes(then or self.rng.bytes(2 * bits), "little")
            ctx.set(self.block.words[group], value >> group * bits & (1 << bits) - 1)
        await ctx.tick()

    async def send(self, ctx: Any, words: list[bytes], kind: str, bank: int = 0) -> None:
        block = self.block
        left = list(words)
        while left:
            word = left.pop(0) if self.rng.random() >= self.idle else None
            flags = {kind: int(word is not None), "bank": bank}
            ctx.set(block.parameter, {"bound": 0, "gain": 0} | flags)
            await self.tick(ctx, word)
        ctx.set(block.parameter, {"bound": 0, "gain": 0, "bank": 0})

    async def end(self, ctx: Any, flag: Any) -> None:
        """A check word, or the start of a token."""
        ctx.set(flag, 1)
        await self.tick(ctx)
        ctx.set(flag, 0)
        for _ in range(self.design.num_groups + 1):
            await self.tick(ctx)

    async def begin(self, ctx: Any, number: int) -> None:
        """Another segment; the parameters of the last are not read any more."""
        ctx.set(self.block.number, 1 - number & 1)
        ctx.set(self.block.load, 1)
        await self.tick(ctx)
        ctx.set(self.block.load, 0)
        ctx.set(self.block.number, number & 1)
        await self.tick(ctx)

    async def read(self, ctx: Any, port: Any, values: list[int]) -> None:
        """All of them, with and without pauses."""
        width, asked = self.design.post_width, [False] * LATENCY
        due = [values[n : n + width] for n in range(0, len(values), width)]
        left = len(due)
        while left or any(asked):
            now = left > 0 and self.rng.random() >= self.idle
            left -= now
            ctx.set(port.next, now)
            asked = [now, *asked[:-1]]
            await self.tick(ctx)
            if asked[-1]:
                assert to_python(ctx.get(port.values)) == due.pop(0)
            assert not ctx.get(self.block.parity_error)
        ctx.set(port.next, 0)


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_parameters_are_read_in_order(design: Design, idle: float) -> None:
    """Own gains, then bounds and gains for the next; the next bank fills while one is read."""
    bench, block = Bench(design, idle), None
    block = bench.block
    most = gain_words(design)

    async def run(ctx: Any) -> None:
        await bench.end(ctx, block.restart)
        await bench.begin(ctx, 0)
        own_words, own = bench.record(1)
        bounds_words, bounds = bench.record(parameter_words(design))
        gains_words, gains = bench.record(most)
        await bench.send(ctx, own_words, "gain", 0)
        for _ in range(design.num_groups + 1):
            await bench.tick(ctx)
        await bench.read(ctx, block.gains, own)
        await bench.send(ctx, bounds_words, "bound")
        await bench.send(ctx, gains_words, "gain", 1)
        await bench.end(ctx, block.taken.check)
        await bench.begin(ctx, 1)
        # A segment without bounds for the next, whose gains come while the others wait.
        next_words, following = bench.record(most)
        await bench.read(ctx, block.bounds, bounds)
        await bench.send(ctx, next_words, "gain", 0)
        await bench.end(ctx, block.taken.check)
        await bench.read(ctx, block.gains, gains)
        await bench.begin(ctx, 2)
        await bench.read(ctx, block.gains, following)

    simulate(block, run)


def test_a_flipped_bit_is_found_when_it_is_read() -> None:
    """Of the P that are read: not when their neighbours are."""
    design = DESIGNS["ports"]
    bench = Bench(design, 0.0)
    block, reads = bench.block, parameters_per_word(design) // design.post_width
    memories = {"gains": block.gains_buffer.memories, "bounds": block.bounds_buffer.memories}

    async def run(ctx: Any) -> None:
        words, _ = bench.record(1)
        await bench.send(ctx, words, "bound")
        await bench.send(ctx, words, "gain", 0)
        for _ in range(design.num_groups + 1):
            await bench.tick(ctx)
        for kind, stored in memories.items():
            port, bits = getattr(block, kind), (PARAMETER_BITS + 1) * parameters_per_share(design)
            for group, memory in enumerate(stored):
                for bit in (0, bits // 2 - 1, bits // 2, bits - 1):
                    ctx.set(memory.contents[0], ctx.get(memory.contents[0]) ^ 1 << bit)
                    number = group * parameters_per_share(design) + bit // (PARAMETER_BITS + 1)
                    await bench.begin(ctx, 0)
                    for n in range(reads):
                        ctx.set(port.next, 1)
                        await bench.tick(ctx)
                        ctx.set(port.next, 0)
                        found = []
                        for _ in range(LATENCY + 2):
                            found.append(ctx.get(block.parity_error))
                            await bench.tick(ctx)
                        hit = n == number // design.post_width
                        assert found == [hit and cycle == LATENCY for cycle in range(LATENCY + 2)]
                    ctx.set(memory.contents[0], ctx.get(memory.contents[0]) ^ 1 << bit)

    simulate(block, run)
