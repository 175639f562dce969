"""The residual addition, at several widths of a value, and what the embedding writes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.memory.vectors import GroupMemory
from hdl.payloads import EARLY
from hdl.rows import residual
from hdl.rows.residual import Residual
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import small_design

WIDTH, CYCLES = 2, 400
Z = 8
SUMMED, WRITTEN = Z + residual.SUMMED, Z + residual.WRITTEN


@pytest.mark.parametrize(
    ("value_bits", "z_bits", "early"), [(16, 16, EARLY), (18, 16, EARLY), (28, 16, 1), (32, 32, 0)]
)
def test_sums_are_clamped_to_a_value_and_written_in_their_cycle(
    value_bits: int, z_bits: int, early: int
) -> None:
    """Tags of every role, with and without a value; the group of x is asked for in time."""
    sizes = {"post_width": WIDTH, "embedding_width": 16, "max_rows": 16}
    design = small_design(2, 4, 16, **sizes, value_bits=value_bits)
    block, rng = Residual(design, z_bits=z_bits, ready=Z, early=early), random.Random(value_bits)
    top = (1 << value_bits - 1) - 1
    corners = [-top - 1, -top, -1, 0, 1, top]
    tags: list[dict[str, Any]] = [
        {
            "valid": rng.randrange(2),
            "end": rng.randrange(2),
            "role": {rng.choice(["residual", "residual", "operand", "logit"]): 1},
            "keep": rng.choice([0b11, 0b01, 0b00]),
            "group": rng.randrange(8),
        }
        for _ in range(CYCLES)
    ]
    most = 1 << z_bits - 1
    z = [[rng.choice([-most, most - 1, rng.randrange(-9, 9)]) for _ in range(WIDTH)] for _ in tags]
    x = [[rng.choice([*corners, rng.randint(-top, top)]) for _ in range(WIDTH)] for _ in range(8)]
    embedded = [rng.randrange(8) for _ in tags]
    asked: list[int] = []
    saturated = 0

    async def bench(ctx: Any) -> None:
        nonlocal saturated
        for now in range(CYCLES):
            for age in range(min(len(block.tags) - 1, now) + 1):
                ctx.set(block.tags[age], tags[now - age])
            if now >= Z:
                ctx.set(block.z, z[now - Z])
            if now >= Z:
                assert asked[now - GroupMemory.LATENCY] == tags[now - Z]["group"]
                ctx.set(block.x.data, x[tags[now - Z]["group"]])
            ctx.set(block.embedding.group, embedded[now])
            ctx.set(block.embedding.enable, embedded[now] > 3)
            ctx.set(block.embedding.keep, 0b10)
            ctx.set(block.embedding.data, [embedded[now], -embedded[now]])
            asked.append(ctx.get(block.x.address))
            if now >= WRITTEN:
                saturated += compare(ctx, now)
            await ctx.tick()

    def compare(ctx: Any, now: int) -> int:
        tag, write = tags[now - WRITTEN], block.write
        ending = tags[now - WRITTEN + early]
        ends = ending["valid"] and "residual" in ending["role"] and ending["end"]
        assert ctx.get(block.vector_done) == ends
        if not (tag["valid"] and "residual" in tag["role"]):
            passed = embedded[now - 1]
            assert ctx.get(write.group) == passed
            assert ctx.get(write.enable) == (passed > 3)
            assert to_python(ctx.get(write.data)) == [passed, -passed]
            assert ctx.get(block.saturated) == 0
            return 0
        exact = [a + b for a, b in zip(x[tag["group"]], z[now - WRITTEN], strict=True)]
        clamped = [max(-top - 1, min(top, total)) for total in exact]
        assert to_python(ctx.get(write.data)) == clamped
        assert ctx.get(write.group) == tag["group"]
        assert (ctx.get(write.enable), ctx.get(write.keep)) == (tag["keep"] & 1, tag["keep"])
        over = sum((a != b) << p for p, (a, b) in enumerate(zip(exact, clamped, strict=True)))
        assert ctx.get(block.saturated) == over & tag["keep"]
        return over.bit_count()

    simulate(block, bench)
    assert saturated > 20
