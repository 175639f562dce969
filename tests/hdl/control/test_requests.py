"""Requests: limits, stop tokens and cancellation."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hdl.control.requests import Requests
from tests.support.hdl.bench import simulate
from tests.support.hdl.values import small_design

DESIGN = small_design(8, 4, 4)


async def run(
    ctx: Any, block: Requests, request: dict[str, int], rows: list[int], cancel_at: int = -1
) -> list[tuple[int, int, int, int]]:
    """Send a request, and answer each token with the next of ``rows``, after a while.

    Returns (id, begin, row, last) of every token.
    """
    rng, seen = random.Random(3), []
    assert ctx.get(block.request.ready) == 0
    ctx.set(block.play.ready, 1)
    token = {"id": request["id"], "begin": request["begin"]}
    rest = {key: request[key] for key in ("limit", "stop", "stops")}
    ctx.set(block.request.payload, {"token": token, "temperature": 7, **rest})
    ctx.set(block.request.valid, 1)
    for position, row in enumerate(rows):
        while not ctx.get(block.play.valid):
            await ctx.tick()
        played = ctx.get(block.play.payload)
        await ctx.tick()
        ctx.set(block.request.valid, 0)
        ctx.set(block.play.ready, 0)
        for _ in range(rng.randrange(4)):
            assert not ctx.get(block.request.ready)
            await ctx.tick()
        if position == cancel_at:
            ctx.set(block.cancel, 1)
            await ctx.tick()
            ctx.set(block.cancel, 0)
        ctx.set(block.chosen.payload.row, row)
        ctx.set(block.chosen.valid, 1)
        for _ in range(rng.randrange(3)):
            assert ctx.get(block.result.valid)
            await ctx.tick()
        ctx.set(block.result.ready, 1)
        answer = ctx.get(block.result.payload)
        assert ctx.get(block.temperature) == 7
        seen.append((int(played.id), int(played.begin), int(answer.row), int(answer.last)))
        await ctx.tick()
        ctx.set(block.result.ready, 0)
        ctx.set(block.chosen.valid, 0)
        ctx.set(block.play.ready, 1)
        if answer.last:
            break
    for _ in range(3):
        assert not ctx.get(block.play.valid)
        await ctx.tick()
    ctx.set(block.play.ready, 0)
    return seen


REQUEST = {"id": 1, "begin": 1, "limit": 3, "stop": 0, "stops": 0}


@pytest.mark.parametrize(
    ("change", "rows", "cancel_at", "expected"),
    [
        ({}, [1, 0, 1, 0], -1, [(1, 1, 1, 0), (1, 0, 0, 0), (0, 0, 1, 1)]),
        ({"limit": 1}, [0, 1], -1, [(1, 1, 0, 1)]),
        ({"limit": 0, "begin": 0}, [0, 1], -1, [(1, 0, 0, 1)]),
        ({"stops": 1}, [1, 0, 1], -1, [(1, 1, 1, 0), (1, 0, 0, 1)]),
        ({"limit": 9}, [1, 1, 1, 1], 1, [(1, 1, 1, 0), (1, 0, 1, 1)]),
    ],
)
def test_requests_end_where_they_should(
    change: dict[str, int],
    rows: list[int],
    cancel_at: int,
    expected: list[tuple[int, int, int, int]],
) -> None:
    block = Requests(DESIGN)

    async def bench(ctx: Any) -> None:
        for _ in range(2):  # the second finds nothing left of the first
            assert await run(ctx, block, REQUEST | change, rows, cancel_at) == expected

    simulate(block, bench)


def test_a_failed_pass_ends_its_request() -> None:
    block = Requests(DESIGN)

    async def bench(ctx: Any) -> None:
        ctx.set(block.play.ready, 1)
        ctx.set(block.request.valid, 1)
        ctx.set(block.request.payload, {"token": {"id": 1}, "limit": 5})
        await ctx.tick()
        ctx.set(block.request.valid, 0)
        assert not ctx.get(block.request.ready)
        ctx.set(block.failed, 1)
        await ctx.tick()
        ctx.set(block.failed, 0)
        assert ctx.get(block.request.ready)
        assert not ctx.get(block.play.valid)

    simulate(block, bench)
