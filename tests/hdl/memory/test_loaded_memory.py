"""Memories that a host fills: parts of words, parity, and every read port."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.memory.loaded_memory import LoadedMemory
from mmfree.chip.memory_map import LOAD_BITS, LoadedShape
from tests.support.hdl.bench import simulate


async def write(ctx: Any, block: LoadedMemory, shape: LoadedShape, word: int, value: int) -> None:
    for part in range(shape.parts):
        ctx.set(block.load.enable, 1)
        ctx.set(block.load.word, word)
        ctx.set(block.load.part, part)
        ctx.set(block.load.data, value >> part * shape.part_bits & ((1 << shape.part_bits) - 1))
        await ctx.tick()
    ctx.set(block.load.enable, 0)
    await ctx.tick()


@pytest.mark.parametrize("bits", [8, 17, 18, 19, 36, 75, 128])
@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("fabric_registers", [False, True])
def test_words_are_written_and_read(bits: int, parity: bool, fabric_registers: bool) -> None:
    shape = LoadedShape(bits, 5, parity=parity)
    assert shape.part_bits <= LOAD_BITS
    assert shape.parts * shape.part_bits >= bits + parity
    initial = [shape.with_parity(word) for word in (3, 1, 2, 0, 7)]
    reads = 1 if fabric_registers else 2
    block = LoadedMemory(
        "words", shape, reads=reads, fabric_registers=fabric_registers, contents=initial
    )
    assert block.latency == 2 + 3 * fabric_registers
    rng = random.Random(bits)
    values = [rng.getrandbits(bits) for _ in range(5)]

    async def read(ctx: Any, *words: int) -> list[tuple[int, int]]:
        """(data, parity error) of each port, exactly in time; the error a cycle after the data."""
        for port, word in enumerate(words):
            ctx.set(block.read[port].address, word)
        for _ in range(block.latency):
            await ctx.tick()
            for port in range(reads):
                ctx.set(block.read[port].address, 4 - 4 * port)
        data = [int(ctx.get(block.read[port].data)) for port in range(reads)]
        await ctx.tick()
        return [
            (word, int(ctx.get(block.read[port].parity_error))) for port, word in enumerate(data)
        ]

    async def bench(ctx: Any) -> None:
        assert await read(ctx, *(1, 4)[:reads]) == [(1, 0), (7, 0)][:reads]
        for word, value in enumerate(values):
            await write(ctx, block, shape, word, shape.with_parity(value))
        for word in range(5):
            both = (word, 4 - word)[:reads]
            assert await read(ctx, *both) == [(values[n], 0) for n in both]
        for bit in range(bits + parity):
            await write(ctx, block, shape, 2, shape.with_parity(values[2]) ^ 1 << bit)
            (data, parity_error), *others = await read(ctx, *(2, 1)[:reads])
            assert data == (values[2] ^ 1 << bit) & ((1 << bits) - 1)
            assert parity_error == parity
            assert others == [(values[1], 0)][: reads - 1]

    simulate(block, bench)
