"""The register port: every kind of register, one transfer per send and take, broken frames."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from amaranth.back import rtlil

from hdl.link.host_ports import ACCESS, HostPorts
from hdl.link.register_map import register_map
from hdl.link.register_port import RegisterPort
from hdl.toolchain.audit import ecp5_cells, forbidden_cells, luts
from mmfree.chip.registers import WORD_BYTES
from tests.hdl.link.test_register_map import ACCESSES, EVERY_KIND
from tests.support.hdl.bench import simulate
from tests.support.sim.shapes import ADDITION

MAP = register_map(EVERY_KIND, ACCESSES)


class Host:
    """Sends and takes bytes, with idle cycles, and counts what happens at the component's ports."""

    def __init__(self, ctx: Any, port: RegisterPort, idle: float) -> None:
        self._ctx, self._port, self._idle = ctx, port, idle
        self._random = random.Random(1)
        self.strobes = {"cancel": 0, "key.enable": 0}
        self.sent: list[int] = []
        self.taken: list[int] = []
        self.ready = False
        self.parcels: list[int] = []

    async def tick(self) -> None:
        """One cycle; the component takes an order if ``ready``, and offers its first parcel."""
        ctx, target = self._ctx, self._port.target
        ctx.set(target.order.ready, self.ready)
        ctx.set(target.parcel.valid, bool(self.parcels))
        ctx.set(target.parcel.payload, {"row": self.parcels[0] if self.parcels else 99, "last": 0})
        self.strobes["cancel"] += ctx.get(target.cancel)
        self.strobes["key.enable"] += ctx.get(target.key.enable)
        if self.ready and ctx.get(target.order.valid):
            self.sent.append(ctx.get(target.order.payload.as_value()))
        if self.parcels and ctx.get(target.parcel.ready):
            self.taken.append(self.parcels.pop(0))
        await ctx.tick()

    async def send(self, frames: bytes) -> None:
        """Send bytes, and some cycles more."""
        ctx, received = self._ctx, self._port.received
        for byte in frames:
            while self._random.random() < self._idle:
                ctx.set(received.payload, self._random.randrange(256))
                await self.tick()
            ctx.set(received.payload, byte)
            ctx.set(received.valid, 1)
            while not ctx.get(received.ready):
                await self.tick()
            await self.tick()
            ctx.set(received.valid, 0)
        for _ in range(4):
            await self.tick()

    async def write(self, name: str, value: int = 0) -> None:
        """Write a register."""
        await self.send(MAP.write[name].write_frames(value))

    async def read(self, name: str) -> int:
        """Read a register; an answer is taken byte after byte, or late."""
        ctx, sent = self._ctx, self._port.sent
        answer = bytearray()
        for frame in MAP.read[name].read_frames():
            await self.send(bytes([frame]))
            for _ in range(WORD_BYTES):
                while not ctx.get(sent.valid) or self._random.random() < self._idle:
                    await self.tick()
                ctx.set(sent.ready, 1)
                answer.append(ctx.get(sent.payload))
                await self.tick()
                ctx.set(sent.ready, 0)
        return MAP.read[name].value_of(bytes(answer))


def play(scene: Callable[[Any, Any, Host], Coroutine[Any, Any, None]], idle: float = 0.0) -> None:
    """Simulate a scene, given the simulator's context, the component's ports and a host."""
    port = RegisterPort(EVERY_KIND, ACCESSES, MAP)

    async def bench(ctx: Any) -> None:
        await scene(ctx, port.target, Host(ctx, port, idle))

    simulate(port, bench)


@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_values_are_written(idle: float) -> None:
    """Wide values part by part; nothing else changes, and no strobe is set."""

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        key = 0x2A_0123456789ABCDEF
        await host.write("key.value", key)
        assert ctx.get(target.key.value) == key
        assert ctx.get(target.mode) == 0
        await host.write("mode", 1)
        await host.send(
            MAP.write["key.value"].write_frames(0x55 << 32)[WORD_BYTES + 1 :][: WORD_BYTES + 1]
        )
        assert ctx.get(target.key.value) == 0x2A_0000005589ABCDEF
        assert ctx.get(target.mode) == 1
        assert host.strobes == {"cancel": 0, "key.enable": 0}

    play(scene, idle)


@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_values_are_read(idle: float) -> None:
    async def scene(ctx: Any, target: Any, host: Host) -> None:
        assert await host.read("identity") == MAP.identity
        levels = [-32768, 32767, 0, -1, 0x1234]
        ctx.set(target.level, levels)
        ctx.set(target.small, 5)
        expected = sum((level & 0xFFFF) << 16 * n for n, level in enumerate(levels))
        assert await host.read("level") == expected
        assert await host.read("small") == 5
        for busy, refused in ((0, 1), (1, 0), (1, 1)):
            ctx.set(target.busy, busy)
            ctx.set(target.key.refused, refused)
            assert (await host.read("busy"), await host.read("key.refused")) == (busy, refused)

    play(scene, idle)


def test_a_strobe_lasts_one_cycle() -> None:
    async def scene(ctx: Any, target: Any, host: Host) -> None:
        await host.write("key.enable", 0)
        await host.write("key.enable", 1)
        await host.write("cancel", 1)
        assert host.strobes == {"cancel": 1, "key.enable": 2}

    play(scene)


@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_a_send_is_one_transfer(idle: float) -> None:
    """It is offered once, until it is taken, and its payload is stable meanwhile."""

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        order = 0x2F_5566778899
        await host.write("order.payload", order)
        assert not ctx.get(target.order.valid)
        await host.write("order")
        for _ in range(9):
            assert ctx.get(target.order.valid)
            await host.tick()
        assert await host.read("order.waiting") == 1
        await host.write("order.payload", 0)
        await host.write("order")
        assert ctx.get(target.order.payload.as_value()) == order
        host.ready = True
        for _ in range(9):
            await host.tick()
        assert host.sent == [order]
        assert await host.read("order.waiting") == 0
        await host.write("order.payload", 7)
        await host.write("order")
        assert host.sent == [order, 7]

    play(scene, idle)


@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_a_take_is_one_transfer(idle: float) -> None:
    """A parcel stays until it is taken; a take when none waits has no effect on the next."""

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        await host.write("parcel")
        host.parcels = [11, 22, 33]
        for number in (11, 22):
            for _ in range(2):
                assert await host.read("parcel.valid") == 1
                assert await host.read("parcel.payload") == number
            await host.write("parcel")
        assert host.taken == [11, 22]
        assert host.parcels == [33]

    play(scene, idle)


def test_a_broken_byte_drops_its_frame() -> None:
    """In every place of a frame; the next frame is carried out."""

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        port_broken = host._port.broken
        for length in range(WORD_BYTES + 1):
            await host.send(MAP.write["key.value"].write_frames(0xFFFFFFFF)[:length])
            ctx.set(port_broken, 1)
            await host.tick()
            ctx.set(port_broken, 0)
            await host.tick()
            assert ctx.get(target.key.value) == 0
            assert await host.read("identity") == MAP.identity

    play(scene)


def test_the_port_of_a_whole_accelerator_is_small() -> None:
    """No multiplier; its LUTs and registers are counted, so that growth is seen."""
    signature = HostPorts(ADDITION.design())
    port = RegisterPort(signature, ACCESS, register_map(signature, ACCESS))
    text = rtlil.convert(port, name="port", emit_src=False)
    assert not forbidden_cells(text)
    cells = ecp5_cells({"port.il": text}, "port")
    assert luts(cells) < 800, luts(cells)
    assert cells["TRELLIS_FF"] < 1500, cells["TRELLIS_FF"]
