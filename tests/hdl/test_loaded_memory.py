"""Memories behind the load port: parts of words, parity, and every read port."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.loaded_memory import LoadedMemory
from mmfree.design import LOAD_BITS, LoadedShape
from tests.hdl.bench import simulate


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
    block = LoadedMemory("words", shape, reads=2, fabric_registers=fabric_registers, contents=initial)
    assert block.latency == 2 + 2 * fabric_registers
    rng = random.Random(bits)
    values = [rng.getrandbits(bits) for _ in range(5)]

    async def read(ctx: Any, word: int, other: int) -> tuple[int, ...]:
        """Data and flags of both ports, and no cycle too late."""
        ctx.set(block.address_0, word)
        ctx.set(block.address_1, other)
        for _ in range(block.latency):
            await ctx.tick()
            ctx.set(block.address_0, 4)
            ctx.set(block.address_1, 0)
        names = ("data_0", "data_1", "wrong_0", "wrong_1")
        return tuple(int(ctx.get(getattr(block, name))) for name in names)

    async def bench(ctx: Any) -> None:
        assert await read(ctx, 1, 4) == (1, 7, 0, 0)
        for word, value in enumerate(values):
            await write(ctx, block, shape, word, shape.with_parity(value))
        for word in range(5):
            assert await read(ctx, word, 4 - word) == (values[word], values[4 - word], 0, 0)
        for bit in range(bits + parity):
            await write(ctx, block, shape, 2, shape.with_parity(values[2]) ^ 1 << bit)
            data, _, wrong, other = await read(ctx, 2, 1)
            assert data == (values[2] ^ 1 << bit) & ((1 << bits) - 1)
            assert (wrong, other) == (parity, 0)

    simulate(block, bench)
