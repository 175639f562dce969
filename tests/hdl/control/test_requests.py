"""Requests: limits, stop tokens, faults, and cancellation in every cycle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest

from hdl.control.requests import Requests
from tests.support.hdl.bench import play_streams, simulate
from tests.support.hdl.streams import Carried, Pace, get, put
from tests.support.hdl.values import small_design

DESIGN = small_design(8, 4, 4)


def payload(token: int, begin: int, limit: int, stop: int | None = None) -> dict[str, Any]:
    """A request as its layout has it."""
    return {
        "token": {"id": token, "begin": begin},
        "temperature": 7,
        "limit": limit,
        "stop": stop or 0,
        "stops": int(stop is not None),
    }


@dataclass
class Model:
    """What must pass each stream for a list of requests, if the chip chooses these rows."""

    rows: Iterator[int]
    played: list[dict[str, int]] = field(default_factory=list)
    chosen: list[dict[str, int]] = field(default_factory=list)
    results: list[dict[str, int]] = field(default_factory=list)

    def ask(self, token: int, begin: int, limit: int, stop: int | None = None) -> None:
        for left in reversed(range(max(1, limit))):
            row = next(self.rows)
            last = left == 0 or row == stop
            self.played.append({"id": token, "begin": begin})
            self.chosen.append({"row": row})
            self.results.append({"row": row, "last": int(last)})
            if last:
                return
            token, begin = row, 0


def answer_requests(pace: Pace) -> Carried:
    """Limits of 0, 1 and more, stop tokens that come, late or never, requests close together."""
    rng, block = random.Random(5), Requests(DESIGN)
    asked = [(1, 1, limit, stop) for limit in (0, 1, 2, 5) for stop in (None, 0, 1)]
    asked += [
        (rng.randrange(2), rng.randrange(2), rng.randrange(6), rng.choice([None, 0, 1]))
        for _ in range(20)
    ]
    model = Model(iter(lambda: rng.randrange(2), None))
    for request in asked:
        model.ask(*request)

    async def sequencer(ctx: Any) -> None:
        """Chooses the next row whenever it has taken a token."""
        for number, row in enumerate(model.chosen):
            await get(ctx, block.play, 1, back_pressure=pace.back_pressure, seed=number)
            await put(ctx, block.chosen, [row], idle=pace.idle, seed=number)
        await get(ctx, block.play)

    expected = {
        "request": [payload(*request) for request in asked],
        "play": model.played,
        "chosen": model.chosen,
        "result": model.results,
    }
    return play_streams(block, expected, pace, sequencer, driven=("play", "chosen"))


ROWS = [1, 0, 1, 1, 0, 1]
"""What the chip chooses, token after token."""


@dataclass(frozen=True)
class Schedule:
    """A request, cycle by cycle: cycle 0 takes it.

    ``delay``: cycles from a token to its row. ``wait``: cycles until a result is taken. ``cancel``:
    the cycle of it. ``fails``: the token whose pass fails, taken as late as a result.
    """

    limit: int
    delay: int = 0
    wait: int = 0
    cancel: int = -1
    fails: int = -1
    stop: int | None = None

    def offers(self) -> list[int]:
        """The cycle in which each token's result would first be offered."""
        step = 1 + self.delay
        return [number * (step + self.wait + 1) + step for number in range(len(ROWS))]

    def answers(self) -> list[tuple[int, int]]:
        """(row, last) of each result that must come."""
        found = []
        for number, (row, offered) in enumerate(zip(ROWS, self.offers(), strict=True)):
            if number == self.fails:
                break
            last = number + 1 >= self.limit or row == self.stop or 0 < self.cancel < offered
            found.append((row, int(last)))
            if last:
                break
        return found

    @property
    def payload(self) -> dict[str, Any]:
        return payload(1, 1, self.limit, self.stop)


async def play(ctx: Any, block: Requests, schedules: list[Schedule]) -> None:
    """Play one request after the other, each taken in the cycle after the last one's end.

    The next one is offered as soon as one is taken. Results must come as scheduled.
    """
    ctx.set(block.request.payload, schedules[0].payload)
    ctx.set(block.request.valid, 1)
    for number, schedule in enumerate(schedules):
        following = schedules[number + 1] if number + 1 < len(schedules) else None
        assert await _play_one(ctx, block, schedule, following) == schedule.answers(), schedule


async def _play_one(
    ctx: Any, block: Requests, schedule: Schedule, following: Schedule | None
) -> list[tuple[int, int]]:
    """The results that come."""
    offers, found, ended = schedule.offers(), [], False
    cycle, number = 0, 0
    while not ended:
        offered = cycle >= offers[number]
        taken = cycle == offers[number] + schedule.wait
        fails = number == schedule.fails
        ctx.set(block.play.ready, 1)
        ctx.set(block.cancel, cycle == schedule.cancel)
        ctx.set(block.chosen.valid, offered and not fails)
        ctx.set(block.chosen.payload.row, ROWS[number])
        ctx.set(block.result.ready, taken and not fails)
        ctx.set(block.failed, taken and fails)
        _, _, requested, played, valid, result = await ctx.tick().sample(
            block.request.ready, block.play.valid, block.result.valid, block.result.payload
        )
        assert requested == (cycle == 0)
        assert played == (
            cycle == 0 or (number > 0 and cycle == offers[number] - schedule.delay - 1)
        )
        assert valid == (offered and not fails)
        assert ctx.get(block.temperature) == 7
        if cycle == 0:
            ctx.set(block.request.valid, following is not None)
            if following is not None:
                ctx.set(block.request.payload, following.payload)
        ended = taken and (fails or bool(result.last))
        if taken and not fails:
            found.append((int(result.row), int(result.last)))
            number += 1
        cycle += 1
    for flag in (block.cancel, block.chosen.valid, block.result.ready, block.failed):
        ctx.set(flag, 0)
    assert ctx.get(block.request.ready)
    return found


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
@pytest.mark.parametrize(("delay", "wait"), list(product((0, 1, 2), (0, 1, 3))))
def test_a_cancel_in_any_cycle_ends_the_request_with_the_next_offer(
    limit: int, delay: int, wait: int
) -> None:
    """From the cycle that takes it to the one that ends it.

    A request that is not cancelled follows each at once, and is played in full.
    """
    block, ends = Requests(DESIGN), set()
    full = Schedule(3, delay, wait)
    schedules = []
    for cancel in range(full.offers()[2] + wait + 1):
        schedule = Schedule(limit, delay, wait, cancel)
        if cancel <= schedule.offers()[len(schedule.answers()) - 1] + wait:
            schedules += [schedule, full]
            ends.add(len(schedule.answers()))

    async def bench(ctx: Any) -> None:
        await play(ctx, block, schedules)

    simulate(block, bench)
    # A row that is chosen in the cycle after its token leaves none to cancel in.
    assert ends == set(range(1 + (delay == 0 and limit > 1), max(1, limit) + 1))


@pytest.mark.parametrize("stop", [0, 1])
def test_a_cancel_beside_a_stop_token(stop: int) -> None:
    block, schedules = Requests(DESIGN), []
    for cancel, wait in product(range(8), (0, 2)):
        schedules += [Schedule(5, 1, wait, cancel, stop=stop), Schedule(2)]

    async def bench(ctx: Any) -> None:
        await play(ctx, block, schedules)

    simulate(block, bench)


@pytest.mark.parametrize("fails", [0, 1, 2])
@pytest.mark.parametrize("wait", [0, 1, 3])
def test_a_fault_ends_a_cancelled_request_and_the_next_is_played_in_full(
    fails: int, wait: int
) -> None:
    """Cancelled in every cycle until the fault is taken, that one included."""
    block, full, schedules = Requests(DESIGN), Schedule(3, 1, wait), []
    for cancel in range(full.offers()[fails] + wait + 1):
        schedules += [Schedule(5, 1, wait, cancel, fails), full]

    async def bench(ctx: Any) -> None:
        await play(ctx, block, schedules)

    simulate(block, bench)


def test_a_cancel_while_nothing_is_in_progress_is_forgotten() -> None:
    block = Requests(DESIGN)

    async def bench(ctx: Any) -> None:
        for idle in range(3):
            ctx.set(block.cancel, 1)
            await ctx.tick()
            ctx.set(block.cancel, 0)
            await ctx.tick().repeat(idle + 1)
            assert not ctx.get(block.play.valid)
            await play(ctx, block, [Schedule(3)])

    simulate(block, bench)
