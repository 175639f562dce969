"""Vector memories: written by groups of P elements, read by words of C."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Fragment, unsigned

from hdl.memory.vectors import GroupMemory, ValueParts, VectorMemory, word_memory
from hdl.payloads import CUT
from mmfree.chip.design import Design
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import IDLE, small_design


def _design(columns: int, width: int, value_bits: int) -> Design:
    return small_design(width, columns, columns, post_width=width, value_bits=value_bits)


@pytest.mark.parametrize(
    ("value_bits", "parts"), [(16, (1, 16)), (18, (1, 18)), (19, (2, 10)), (28, (2, 14))]
)
def test_values_take_equal_parts_that_a_block_ram_can_write(
    value_bits: int, parts: tuple[int, int]
) -> None:
    assert ValueParts.of(value_bits) == ValueParts(*parts)


@pytest.mark.parametrize(
    ("words", "style", "depth"),
    [(1, "distributed", 2), (64, "distributed", 64), (65, "block", 65)],
)
def test_up_to_64_words_of_a_vector_are_in_distributed_ram(
    words: int, style: str, depth: int
) -> None:
    made = word_memory(24, words)
    made.read_port()
    Fragment.get(made, None)  # Amaranth warns of what was made and never elaborated
    assert made.attrs == {"ram_style": style}
    assert (made.depth, made.shape) == (depth, unsigned(24))


@pytest.mark.parametrize(
    ("columns", "width", "words", "bits"),
    [(2, 1, 3, 16), (4, 4, 5, 18), (8, 2, 1, 28), (4, 1, 8, 16), (64, 8, 5, 16)],
)
@pytest.mark.parametrize("idle", IDLE)
def test_groups_are_written_and_words_are_read(
    columns: int, width: int, words: int, bits: int, idle: float
) -> None:
    """Groups are written whole, padding included, whatever ``keep`` is.

    A read in the cycle after a write sees it.
    """
    memory, rng = VectorMemory(_design(columns, width, bits), words), random.Random(words)
    groups = words * columns // width
    held = [0] * words * columns
    due: dict[int, list[int]] = {}

    async def bench(ctx: Any) -> None:
        for number in range(groups + 200):
            enable = number < groups or rng.random() >= idle
            # Every group once, so that nothing is undefined; then any.
            group = number if number < groups else rng.randrange(groups)
            values = [rng.randrange(-(1 << bits - 1), 1 << bits - 1) for _ in range(width)]
            word = rng.choice([rng.randrange(words), group * width // columns])
            if number >= groups and not (enable and word == group * width // columns):
                due[number + memory.LATENCY] = held[word * columns : (word + 1) * columns]
            for name, value in {
                "group": group,
                "enable": enable,
                "keep": rng.getrandbits(width),
                "data": values,
            }.items():
                ctx.set(getattr(memory.write, name), value)
            ctx.set(memory.read.address, word)
            if enable:
                held[group * width : (group + 1) * width] = values
            await ctx.tick()
            if number + 1 in due:
                assert to_python(ctx.get(memory.read.data)) == due[number + 1]

    simulate(memory, bench)


@pytest.mark.parametrize(
    ("columns", "width", "words", "bits"),
    [(2, 1, 3, 16), (4, 4, 5, 18), (8, 2, 1, 28), (32, 4, 12, 16), (4, 2, 3, 19)],
)
@pytest.mark.parametrize("idle", IDLE)
def test_groups_are_written_and_read(
    columns: int, width: int, words: int, bits: int, idle: float
) -> None:
    """A read in the cycle after a write sees it; with and without idle cycles."""
    memory, rng = GroupMemory(_design(columns, width, bits), words), random.Random(words)
    groups = max(2, words) * columns // width
    held = [[0] * width for _ in range(groups)]
    due: dict[int, list[int]] = {}

    async def bench(ctx: Any) -> None:
        written = 0
        for number in range(groups + 300):
            enable = number < groups or rng.random() >= idle
            last, written = written, number if number < groups else rng.randrange(groups)
            values = [rng.randrange(-(1 << bits - 1), 1 << bits - 1) for _ in range(width)]
            group = rng.choice([rng.randrange(groups), last])
            if number >= groups and not (enable and group == written):
                due[number + memory.LATENCY] = held[group]
            for name, value in {
                "group": written,
                "enable": enable,
                "keep": rng.getrandbits(width),
                "data": values,
            }.items():
                ctx.set(getattr(memory.write, name), value)
            ctx.set(memory.read.address, group)
            if enable:
                held[written] = values
            await ctx.tick()
            if number + 1 in due:
                assert to_python(ctx.get(memory.read.data)) == due[number + 1]

    simulate(memory, bench)


@pytest.mark.parametrize(("columns", "width", "words"), [(4, 1, 3), (4, 2, 70)])
def test_a_vector_may_have_elements_of_a_structure(columns: int, width: int, words: int) -> None:
    """Cut elements, of all their bits, beside a design whose values have others."""
    memory, rng = VectorMemory(_design(columns, width, 16), words, CUT), random.Random(words)
    groups = words * columns // width
    written = [
        [{name: rng.getrandbits(field.width) for name, field in CUT} for _ in range(width)]
        for _ in range(groups)
    ]

    async def bench(ctx: Any) -> None:
        ctx.set(memory.write.enable, 1)
        for group, values in enumerate(written):
            ctx.set(memory.write.group, group)
            ctx.set(memory.write.data, values)
            await ctx.tick()
        ctx.set(memory.write.enable, 0)
        await ctx.tick()
        for word in range(words):
            ctx.set(memory.read.address, word)
            await ctx.tick().repeat(memory.LATENCY)
            parts = written[word * columns // width : (word + 1) * columns // width]
            elements = [element for part in parts for element in part]
            found = ctx.get(memory.read.data)
            for c, element in enumerate(elements):
                assert {name: found[c][name] for name in element} == element

    simulate(memory, bench)
