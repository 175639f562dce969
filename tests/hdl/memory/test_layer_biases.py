"""Biases that come with the words of a record: each is read back, in order, with its parity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hdl.memory.layer_biases import LayerBiases
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.memory_map import group_bits, parameter_words
from mmfree.chip.sizing import design_for_memory
from mmfree.contract.shape import ModelConfig
from tests.support.hdl.bench import simulate
from tests.support.hdl.values import IDLE

CONFIG = ModelConfig(vocab_size=5, head_size=3, hidden_size=75, intermediate_size=20, num_layers=2)


def design_of(memory: str, post_width: int) -> Design:
    external = find_memory(memory)
    assert external is not None
    design = design_for_memory(CONFIG, external)
    words = design.bias_words * design.post_width // post_width
    return replace(design, post_width=post_width, bias_words=words, state_words=2 * words)


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize(
    ("memory", "post_width"), [("axi64", 1), ("axi128x2", 1), ("axi128x4", 4), ("axi512x2", 2)]
)
def test_biases_are_read_in_order(memory: str, post_width: int, idle: float) -> None:
    """Two records, the second replaces the first. Garbage between the words."""
    design, rng = design_of(memory, post_width), np.random.default_rng(1)
    block, words = LayerBiases(design), parameter_words(design)
    groups, bits = design.num_groups, group_bits(design)

    async def write(ctx: Any, record: bytes) -> None:
        """A record: its words, the share of group g g cycles late, and a check word after them."""
        size = bits // 8
        sent: list[int | None] = [None] * groups
        left = list(range(words))
        while left or any(number is not None for number in sent):
            number = left.pop(0) if left and rng.random() >= idle else None
            sent = [number, *sent[: groups - 1]]
            ctx.set(block.parameter, number is not None)
            for group, then in enumerate(sent):
                share = rng.bytes(size)
                if then is not None:
                    share = record[(then * groups + group) * size :][:size]
                ctx.set(block.words[group], int.from_bytes(share, "little"))
            await ctx.tick()
        ctx.set(block.taken.check, 1)
        await ctx.tick()
        ctx.set(block.taken.check, 0)
        await ctx.tick().repeat(groups + 1)

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            record = rng.bytes(words * groups * bits // 8)
            biases = np.frombuffer(record, dtype="<u2")[: design.bias_words * post_width]
            await write(ctx, record)
            for address in range(design.bias_words + block.latency):
                ctx.set(block.read.address, min(address, design.bias_words - 1))
                await ctx.tick()
                first = (address + 1 - block.latency) * post_width
                if 0 <= first < len(biases):
                    read = int(ctx.get(block.read.data)).to_bytes(2 * post_width, "little")
                    assert np.frombuffer(read, "<u2").tolist() == (
                        biases[first : first + post_width].tolist()
                    )
                assert not ctx.get(block.read.parity_error)

    simulate(block, bench)


def test_a_flipped_bit_is_found_when_it_is_read() -> None:
    design, rng = design_of("axi128x2", 2), np.random.default_rng(2)
    block = LayerBiases(design)

    async def bench(ctx: Any) -> None:
        ctx.set(block.parameter, 1)
        await ctx.tick()
        ctx.set(block.parameter, 0)
        await ctx.tick().repeat(design.num_groups + 1)
        for _ in range(20):
            group, bit = int(rng.integers(2)), int(rng.integers(8 * 17))
            contents = block.memories[group].contents
            ctx.set(contents[0], ctx.get(contents[0]) ^ 1 << bit)
            # 4 pairs of biases of the first group, then 4 of the second.
            hit = group * 4 + bit // (2 * 17)
            for address in range(8):
                ctx.set(block.read.address, address)
                await ctx.tick().repeat(block.latency + 1)
                assert ctx.get(block.read.parity_error) == (address == hit)
            ctx.set(contents[0], ctx.get(contents[0]) ^ 1 << bit)

    simulate(block, bench)


def test_after_a_restart_biases_are_those_of_a_new_record() -> None:
    design = design_of("axi64", 1)
    block = LayerBiases(design)

    async def bench(ctx: Any) -> None:
        for restart, value in ((0, 1), (1, 2)):
            ctx.set(block.restart, restart)
            await ctx.tick()
            ctx.set(block.restart, 0)
            ctx.set(block.words[0], value)
            ctx.set(block.parameter, 1)
            await ctx.tick()
            ctx.set(block.parameter, 0)
            await ctx.tick().repeat(2)
        ctx.set(block.read.address, 0)
        await ctx.tick().repeat(block.latency)
        assert ctx.get(block.read.data) == 2

    simulate(block, bench)
