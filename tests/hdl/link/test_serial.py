"""The serial line: bytes out and in again, rates that do not quite agree, what is lost and how."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.link.serial import FRAME_BITS, Receiver, Transmitter, divisor_for
from mmfree.errors import InputError
from tests.support.hdl.bench import play_streams, simulate
from tests.support.hdl.streams import PACES, Pace


class Loop(wiring.Component):
    """A transmitter, and a receiver on its line."""

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__(
            {
                "sent": In(stream.Signature(8)),
                "received": Out(stream.Signature(8)),
                "broken": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sender = sender = Transmitter(self._divisor)
        m.submodules.receiver = receiver = Receiver(self._divisor)
        wiring.connect(m, wiring.flipped(self.sent), sender.bytes)
        wiring.connect(m, receiver.bytes, wiring.flipped(self.received))
        m.d.comb += [receiver.rx.eq(sender.tx), self.broken.eq(receiver.broken)]
        return m


def levels(byte: int, stop: int = 1) -> list[int]:
    """The line's levels for a byte, bit after bit."""
    return [0, *(byte >> n & 1 for n in range(8)), stop]


async def listen(ctx: Any, receiver: Receiver, line: list[int]) -> list[int | None]:
    """Put levels on a line, one per cycle; returns the bytes received, None for a broken one."""
    seen: list[int | None] = []
    ctx.set(receiver.bytes.ready, 1)
    for level in line:
        ctx.set(receiver.rx, level)
        if ctx.get(receiver.bytes.valid):
            seen.append(ctx.get(receiver.bytes.payload))
        if ctx.get(receiver.broken):
            seen.append(None)
        await ctx.tick()
    return seen


@pytest.mark.parametrize("divisor", [4, 5, 7, 31])
@pytest.mark.parametrize("pace", PACES, ids=str)
def test_bytes_come_back(divisor: int, pace: Pace) -> None:
    """Every byte, with and without pauses between them, taken at once or late."""
    rng = random.Random(divisor)
    sent = [0x00, 0xFF, 0x55, 0xAA, *(rng.randrange(256) for _ in range(12))]
    loop = Loop(divisor)

    async def none_is_lost(ctx: Any) -> None:
        async for _, _, broken in ctx.tick().sample(loop.broken):
            assert not broken

    play_streams(loop, {"sent": sent, "received": sent}, pace, none_is_lost)


def test_a_frame_takes_ten_bits() -> None:
    """Start bit, bits from the lowest, stop bit; the next byte follows without a gap."""
    divisor, sent = 5, [0xC1, 0x3E]
    sender, line = Transmitter(divisor), []

    async def bench(ctx: Any) -> None:
        waiting = list(sent)
        while len(line) < 2 * FRAME_BITS * divisor + 4:
            ctx.set(sender.bytes.valid, bool(waiting))
            ctx.set(sender.bytes.payload, waiting[0] if waiting else 0x77)
            if waiting and ctx.get(sender.bytes.ready):
                waiting.pop(0)
            await ctx.tick()
            line.append(ctx.get(sender.tx))

    simulate(sender, bench)
    expected = [level for byte in sent for level in levels(byte) for _ in range(divisor)]
    gap = line[FRAME_BITS * divisor :].index(0)
    assert line[: FRAME_BITS * divisor] == expected[: FRAME_BITS * divisor]
    assert gap <= 1
    assert (
        line[FRAME_BITS * divisor + gap :][: FRAME_BITS * divisor]
        == expected[FRAME_BITS * divisor :]
    )


@pytest.mark.parametrize("error", [-0.04, -0.02, 0.02, 0.04])
def test_another_rate_is_received(error: float) -> None:
    """The two ends have different clocks; frames follow each other directly."""
    divisor, sent = 100, [0x00, 0xFF, 0x80, 0x01, 0x5A] * 3
    receiver, bits = Receiver(divisor), [1] * 3
    for byte in sent:
        bits += levels(byte)
    bits += [1] * 3
    step = divisor * (1 + error)
    line = [bits[int(n / step)] for n in range(int(len(bits) * step))]
    seen: list[int | None] = []

    async def bench(ctx: Any) -> None:
        seen.extend(await listen(ctx, receiver, line))

    simulate(receiver, bench)
    assert seen == sent


@pytest.mark.parametrize("divisor", [4, 5, 8, 13])
def test_a_bit_is_what_the_line_is_in_its_middle(divisor: int) -> None:
    """Beside the middle cycle, and the edge of the start bit, the line has the other level."""
    sent, line = [0x00, 0xFF, 0xA5], [1] * divisor
    for byte in sent:
        for place, level in enumerate(levels(byte)):
            cycles = [1 - level] * divisor
            cycles[divisor // 2] = level
            if place == 0:
                cycles[0] = 0
            line += cycles
        # The next start bit is not taken for this byte's end.
        line += [1] * divisor
    receiver, seen = Receiver(divisor), []

    async def bench(ctx: Any) -> None:
        seen.extend(await listen(ctx, receiver, line))

    simulate(receiver, bench)
    assert seen == sent


def test_breaks_and_noise() -> None:
    """A break of any length is one broken byte, a glitch shorter than half a bit is nothing.

    The byte after either is received.
    """
    divisor = 9
    receiver, seen = Receiver(divisor), []

    def bits(*values: int) -> list[int]:
        return [value for value in values for _ in range(divisor)]

    line = bits(1, *levels(0x42), 1, 1)
    line += bits(*[0] * 25, 1, *levels(0x43))
    line += bits(1) + [0] * 3 + bits(1, *levels(0x44))
    line += bits(*levels(0x45, stop=0), 1, 1, *levels(0x46), 1, 1)

    async def bench(ctx: Any) -> None:
        seen.extend(await listen(ctx, receiver, line))

    simulate(receiver, bench)
    assert seen == [0x42, None, 0x43, 0x44, None, 0x46]


async def listen_late(
    ctx: Any, receiver: Receiver, line: list[int], ready: Callable[[int], bool]
) -> list[int | None]:
    """As ``listen``, but bytes are taken in the cycles that ``ready`` names."""
    seen: list[int | None] = []
    for cycle, level in enumerate(line):
        ctx.set(receiver.rx, level)
        ctx.set(receiver.bytes.ready, ready(cycle))
        _, _, valid, payload, broken = await ctx.tick().sample(
            receiver.bytes.valid, receiver.bytes.payload, receiver.broken
        )
        assert not (valid and broken)
        if valid and ready(cycle):
            seen.append(payload)
        if broken:
            seen.append(None)
    return seen


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([levels(0x22)], [0x11, None]),
        ([levels(0x22), levels(0x33)], [0x11, None]),
        ([levels(0x22, stop=0), [1, 1]], [0x11, None]),
        ([levels(0x22), [0] * 25, [1, 1]], [0x11, None]),
    ],
    ids=["one", "two", "a broken one", "one and a break"],
)
def test_bytes_that_come_while_one_waits_are_lost_in_their_place(
    frames: list[list[int]], expected: list[int | None]
) -> None:
    """The one that waits stays; ``broken`` comes after it, once, and before the next."""
    divisor, seen = 6, []
    receiver = Receiver(divisor)
    bits = [*levels(0x11), *(bit for frame in frames for bit in frame)]
    until = len(bits) * divisor + 20
    line = [level for bit in bits for level in [bit] * divisor] + [1] * 40
    line += [level for bit in levels(0x44) for level in [bit] * divisor] + [1] * 9

    async def bench(ctx: Any) -> None:
        seen.extend(await listen_late(ctx, receiver, line, lambda cycle: cycle >= until))

    simulate(receiver, bench)
    assert seen == [*expected, 0x44]


def test_a_byte_is_taken_at_the_last_moment_or_the_next_is_lost() -> None:
    """Taken in every cycle around the next one's end; nothing in between, nothing exchanged."""
    divisor, outcomes = 5, []
    line = [level for byte in (0x11, 0x22) for bit in levels(byte) for level in [bit] * divisor]
    line += [1] * 10
    line += [level for bit in levels(0x44) for level in [bit] * divisor] + [1] * 9
    second = 2 * FRAME_BITS * divisor
    for offset in range(-divisor, divisor + 1):
        receiver, seen = Receiver(divisor), []
        moments = {second + offset, *range(second + 20, len(line))}

        async def bench(
            ctx: Any, receiver: Any = receiver, seen: Any = seen, moments: Any = moments
        ) -> None:
            seen.extend(await listen_late(ctx, receiver, line, lambda cycle: cycle in moments))

        simulate(receiver, bench)
        assert seen in ([0x11, 0x22, 0x44], [0x11, None, 0x44])
        outcomes.append(seen[1])
    in_time = outcomes.count(0x22)
    assert 0 < in_time < len(outcomes)
    assert outcomes == [0x22] * in_time + [None] * (len(outcomes) - in_time)


def test_rates_that_a_clock_can_make() -> None:
    assert divisor_for(140e6, 1e6) == 140
    assert divisor_for(25e6, 115_200) == 217
    with pytest.raises(
        InputError, match=r"a clock of 12\.5 MHz cannot make 1,000,000 baud within 2 %"
    ):
        divisor_for(12.5e6, 1e6)
    with pytest.raises(InputError, match="a clock of 3 MHz cannot make"):
        divisor_for(3e6, 1e6)
