"""Vector memories: written by groups of P elements, read by words of C."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.vectors import GroupChoice, VectorMemory
from tests.hdl.bench import simulate, to_python
from tests.hdl.values import IDLE


@pytest.mark.parametrize(("columns", "width", "words"), [(2, 1, 3), (4, 4, 5), (8, 2, 1), (4, 1, 8)])
@pytest.mark.parametrize("idle", IDLE)
def test_groups_are_written_and_words_are_read(columns: int, width: int, words: int, idle: float) -> None:
    """Whole groups, padding and all, whatever ``keep`` says; a read of the cycle after a write sees it."""
    memory, rng = VectorMemory(columns, width, words), random.Random(words)
    groups = words * columns // width
    held = [0] * words * columns
    due: dict[int, list[int]] = {}

    async def bench(ctx: Any) -> None:
        for number in range(groups + 200):
            enable = number < groups or rng.random() >= idle
            # Every group once, so that nothing is undefined; then any.
            group = number if number < groups else rng.randrange(groups)
            values = [rng.randrange(-32768, 32768) for _ in range(width)]
            word = rng.choice([rng.randrange(words), group * width // columns])
            if number >= groups and not (enable and word == group * width // columns):
                due[number + memory.LATENCY] = held[word * columns : (word + 1) * columns]
            for name, value in {
                "group": group, "enable": enable, "keep": rng.getrandbits(width), "data": values
            }.items():
                ctx.set(getattr(memory.write, name), value)
            ctx.set(memory.read_address, word)
            if enable:
                held[group * width : (group + 1) * width] = values
            await ctx.tick()
            if number + 1 in due:
                assert to_python(ctx.get(memory.read_data)) == due[number + 1]

    simulate(memory, bench)


@pytest.mark.parametrize(("columns", "width"), [(2, 1), (4, 4), (8, 2), (16, 1), (32, 4), (24, 2)])
def test_a_group_is_chosen_from_the_word_of_its_address(columns: int, width: int) -> None:
    """Another word and another index every cycle."""
    choice, rng = GroupChoice(columns, width), random.Random(columns)
    num_cycles, groups = 100, columns // width
    words = [[rng.randrange(-32768, 32768) for _ in range(columns)] for _ in range(num_cycles)]
    indices = [rng.randrange(groups) for _ in range(num_cycles)]

    async def bench(ctx: Any) -> None:
        for number in range(num_cycles):
            if groups > 1:
                ctx.set(choice.index, indices[number])
            # The word of an index comes as many cycles later as a memory takes.
            ctx.set(choice.word, words[number - VectorMemory.LATENCY])
            await ctx.tick()
            asked = number + 1 - choice.LATENCY
            if asked >= 0:
                low = width * indices[asked]
                assert to_python(ctx.get(choice.values)) == words[asked][low : low + width], number

    simulate(choice, bench)
