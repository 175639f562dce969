"""The serial line: bytes out and in again, rates that do not quite agree, noise and breaks."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from hdl.link.serial import FRAME_BITS, Receiver, Transmitter, divisor_for
from mmfree.errors import InputError
from tests.support.hdl.bench import simulate


class Loop(wiring.Component):
    """A transmitter, and a receiver on its line."""

    def __init__(self, divisor: int) -> None:
        self.sender, self.receiver = Transmitter(divisor), Receiver(divisor)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sender, m.submodules.receiver = self.sender, self.receiver
        m.d.comb += self.receiver.rx.eq(self.sender.tx)
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
@pytest.mark.parametrize("idle", [0.0, 0.7])
def test_bytes_come_back(divisor: int, idle: float) -> None:
    """Every byte, with and without pauses between them, taken at once or late."""
    rng = random.Random(divisor)
    sent = [0x00, 0xFF, 0x55, 0xAA, *(rng.randrange(256) for _ in range(12))]
    loop, seen = Loop(divisor), []

    async def bench(ctx: Any) -> None:
        waiting, late = list(sent), 0
        bytes_in, bytes_out = loop.sender.bytes, loop.receiver.bytes
        for _ in range((FRAME_BITS * len(sent) + 12) * divisor * (3 if idle else 1)):
            offer = bool(waiting) and (rng.random() >= idle or ctx.get(bytes_in.valid) == 1)
            ctx.set(bytes_in.valid, offer)
            if waiting:
                ctx.set(bytes_in.payload, waiting[0])
            take = ctx.get(bytes_out.valid) and late >= (5 * divisor if idle else 0)
            late = late + 1 if ctx.get(bytes_out.valid) and not take else 0
            ctx.set(bytes_out.ready, take)
            if take:
                seen.append(ctx.get(bytes_out.payload))
            if offer and ctx.get(bytes_in.ready):
                waiting.pop(0)
            assert not ctx.get(loop.receiver.broken)
            await ctx.tick()

    simulate(loop, bench)
    assert seen == sent


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


def test_a_byte_that_is_not_taken_gives_way_to_the_next() -> None:
    divisor, seen = 6, []
    receiver = Receiver(divisor)
    line = [
        level for byte in (0x11, 0x22, 0x33) for level in levels(byte) for _ in range(divisor)
    ] + [1] * 9

    async def bench(ctx: Any) -> None:
        for level in line:
            ctx.set(receiver.rx, level)
            await ctx.tick()
        assert ctx.get(receiver.bytes.valid)
        seen.append(ctx.get(receiver.bytes.payload))

    simulate(receiver, bench)
    assert seen == [0x33]


def test_rates_that_a_clock_can_make() -> None:
    assert divisor_for(140e6, 1e6) == 140
    assert divisor_for(25e6, 115_200) == 217
    with pytest.raises(
        InputError, match=r"a clock of 12\.5 MHz cannot make 1,000,000 baud within 2 %"
    ):
        divisor_for(12.5e6, 1e6)
    with pytest.raises(InputError, match="a clock of 3 MHz cannot make"):
        divisor_for(3e6, 1e6)
