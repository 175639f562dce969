"""The register port: every kind of register, one transfer per send and take, broken frames.

And what does not fit: it is refused, told, and nothing uses it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from functools import reduce
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Value

from hdl.link.host_ports import ACCESS, HostPorts
from hdl.link.register_map import register_map
from hdl.link.register_port import RegisterPort
from hdl.toolchain.audit import ecp5_cells, forbidden_cells, luts
from mmfree.chip.registers import (
    LOST,
    WORD_BITS,
    WORD_BYTES,
    WORD_MAX,
    WRITE_FLAG,
    Access,
    RegisterMap,
)
from tests.hdl.link.test_register_map import ACCESSES, EVERY_KIND, MANY_ACCESSES, MANY_FLAGS
from tests.support.hdl.bench import simulate
from tests.support.hdl.streams import get, put
from tests.support.sim.shapes import ADDITION, ODD, Shape

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

    async def write_word(self, number: int, word: int) -> None:
        """Write a word to a number, whether it fits or not."""
        await self.send(bytes([WRITE_FLAG | number]) + word.to_bytes(WORD_BYTES, "little"))

    async def refused(self) -> str | None:
        """Name of the first register whose frame was refused."""
        return MAP.refused_name(await self.read("refused"))

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


def test_every_one_of_many_flags_is_read() -> None:
    """They lie in three registers; each at its own place."""
    registers = register_map(MANY_FLAGS, MANY_ACCESSES)
    port, rng = RegisterPort(MANY_FLAGS, MANY_ACCESSES, registers), random.Random(3)
    flags = {name: rng.randrange(2) for name in MANY_FLAGS.members if name != "first"}

    async def bench(ctx: Any) -> None:
        for name, value in flags.items():
            ctx.set(getattr(port.target, name), value)
        for name, value in flags.items():
            await put(ctx, port.received, registers.read[name].read_frames())
            answer = bytes(await get(ctx, port.sent, WORD_BYTES))
            assert registers.read[name].value_of(answer) == value, name

    simulate(port, bench)


def test_a_strobe_lasts_one_cycle() -> None:
    async def scene(ctx: Any, target: Any, host: Host) -> None:
        await host.write("key.enable")
        await host.write_word(*MAP.write["key.enable"].numbers, WORD_MAX)
        await host.write("cancel")
        assert host.strobes == {"cancel": 1, "key.enable": 2}

    play(scene)


@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_a_send_is_one_transfer(idle: float) -> None:
    """It is offered once, until it is taken; meanwhile its payload cannot be written."""

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        payload = target.order.payload
        await host.write("order.payload.item.id", 0x55_66778899)
        await host.write("order.payload.count", 19)
        assert not ctx.get(target.order.valid)
        await host.write("order")
        for _ in range(9):
            assert ctx.get(target.order.valid)
            await host.tick()
        assert await host.read("order.waiting") == 1
        for name in ("order", "order.payload.count"):
            await host.write(name)
            assert await host.refused() == name
            await host.write("refused")
        await host.write("order")
        assert ctx.get(payload.item.id) == 0x55_66778899
        assert ctx.get(payload.count) == 19
        host.ready = True
        for _ in range(9):
            await host.tick()
        order = 19 << 41 | 0x55_66778899
        assert host.sent == [order]
        assert await host.read("order.waiting") == 0
        await host.write("refused")
        # The count that was refused is not forgotten: the old one is not sent in its place.
        await host.write("order")
        assert await host.refused() == "order"
        await host.write("refused")
        await host.write("order.payload.count", 0)
        await host.write("order.payload.item.new", 1)
        await host.write("order")
        assert host.sent == [order, 1 << 40 | 0x55_66778899]
        assert await host.refused() is None

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


FIELDS = [name for name, register in MAP.write.items() if register.access == Access.WRITE]


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_takes_its_largest_and_none_larger(name: str) -> None:
    register = MAP.write[name]
    number, largest = register.numbers[-1], register.largest_words[-1]

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        values = Values(ctx, target)
        await host.write(name, register.largest)
        assert values.all() == {**dict.fromkeys(FIELDS, 0), name: register.largest}
        for word in (largest + 1, 2 * largest + 1, WORD_MAX, 1 << WORD_BITS - 1):
            await host.write_word(number, word)
            assert values.all() == {**dict.fromkeys(FIELDS, 0), name: register.largest}
            assert await host.refused() == name
            await host.write("refused")
            assert await host.refused() is None
        await host.write(name, 1)
        assert values.all() == {**dict.fromkeys(FIELDS, 0), name: 1}
        assert await host.refused() is None

    play(scene)


@pytest.mark.parametrize("shape", [ODD, ADDITION], ids=lambda shape: shape.name)
def test_every_value_of_an_accelerator_takes_its_largest_and_none_larger(shape: Shape) -> None:
    signature = HostPorts(shape.design())
    registers = register_map(signature, ACCESS, shape.design().to_dict())
    port = RegisterPort(signature, ACCESS, registers)

    async def bench(ctx: Any) -> None:
        values = Values(ctx, port.target, registers)
        expected = dict.fromkeys(values.all(), 0)
        for name in expected:
            register = registers.write[name]
            await put(ctx, port.received, register.write_frames(register.largest))
            expected[name] = register.largest
            top, beyond = register.numbers[-1], register.largest_words[-1] + 1
            if beyond <= WORD_MAX:
                for word in (beyond, WORD_MAX):
                    frame = bytes([WRITE_FLAG | top]) + word.to_bytes(WORD_BYTES, "little")
                    await put(ctx, port.received, frame)
                await put(ctx, port.received, registers.read["refused"].read_frames())
                answer = await get(ctx, port.sent, WORD_BYTES)
                value = registers.read["refused"].value_of(bytes(answer))
                assert registers.refused_name(value) == name
            await put(ctx, port.received, registers.write["refused"].write_frames())
            assert values.all() == expected

    simulate(port, bench)


def test_no_strobe_uses_a_value_that_was_refused() -> None:
    """Not before ``refused`` is written, nor before the value is."""

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        *low, top = MAP.write["key.value"].numbers
        await host.write("key.value", 0x15_0123456789ABCDEF)
        for number in low:
            await host.write_word(number, 7)
        await host.write_word(top, 64)
        await host.write("key.enable")
        await host.write("cancel")
        assert host.strobes == {"cancel": 0, "key.enable": 0}
        assert await host.refused() == "key.value"
        await host.write("refused")
        await host.write("key.enable")
        assert host.strobes == {"cancel": 0, "key.enable": 0}
        assert await host.refused() == "key.enable"
        await host.write("refused")
        await host.write("cancel")
        assert host.strobes == {"cancel": 1, "key.enable": 0}
        await host.write_word(top, 63)
        await host.write("key.enable")
        assert host.strobes == {"cancel": 1, "key.enable": 1}
        assert ctx.get(target.key.value) == 63 << 64 | 7 << 32 | 7

    play(scene)


def test_a_number_that_no_register_has_is_refused() -> None:
    async def scene(ctx: Any, target: Any, host: Host) -> None:
        for number in (1 + max(r.numbers[-1] for r in MAP.write.values()), LOST - 1):
            await host.write_word(number, 0)
            assert await host.refused() == f"number {number}, which none has"
            # The first is told.
            await host.write_word(number ^ 1, 0)
            assert await host.refused() == f"number {number}, which none has"
            await host.write("refused")
        assert set(Values(ctx, target).all().values()) == {0}

    play(scene)


class Values:
    """The values that a host writes, at the component's ports."""

    def __init__(self, ctx: Any, target: Any, registers: RegisterMap = MAP) -> None:
        self._ctx = ctx
        self._signals = {
            name: Value.cast(reduce(getattr, name.split("."), target))
            for name, register in registers.write.items()
            if register.access == Access.WRITE
        }

    def all(self) -> dict[str, int]:
        """By name of the register."""
        return {name: self._ctx.get(signal) for name, signal in self._signals.items()}


USED = {
    "order": ["order.payload.item.id", "order.payload.item.new", "order.payload.count"],
    "key.enable": ["key.value"],
    "cancel": ["mode", "slot"],
}
"""What is sent or strobed -> the values that go with it."""


class Model:
    """What every frame should do, by the rules."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(FIELDS, 0)
        self.strobes = {"cancel": 0, "key.enable": 0}
        self.refused, self.offered = 0, False
        self._stale: set[int] = set()

    def write(self, number: int, word: int) -> None:
        """A frame that writes."""
        found = [(r, r.numbers.index(number)) for r in MAP.write.values() if number in r.numbers]
        if not found or not self._carry_out(found[0][0].name, number, *found[0], word):
            self.refused = self.refused or WRITE_FLAG | number

    def _carry_out(self, name: str, number: int, register: Any, n: int, word: int) -> bool:
        if register.access == Access.CLEAR:
            self.refused = 0
        elif register.access == Access.WRITE:
            offered = self.offered and name.startswith("order")
            if offered or word > register.largest >> WORD_BITS * n:
                self._stale.add(number)
                return False
            self._stale.discard(number)
            words = self.values[name].to_bytes(4 * len(register.numbers), "little")
            words = words[: 4 * n] + word.to_bytes(4, "little") + words[4 * n + 4 :]
            self.values[name] = int.from_bytes(words, "little")
        elif register.access in (Access.STROBE, Access.SEND):
            used = {number for value in USED[name] for number in MAP.write[value].numbers}
            sends = register.access == Access.SEND
            if self.refused or (sends and self.offered) or self._stale & used:
                return False
            self.offered |= sends
            if not sends:
                self.strobes[name] += 1
        return True


@pytest.mark.parametrize("seed", range(4))
def test_any_frames_do_what_the_rules_say(seed: int) -> None:
    """Frames with words near every limit, in any order, while orders are taken now and then."""
    rng, model = random.Random(seed), Model()
    registers = [r for r in MAP.write.values() for _ in r.numbers]

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        values = Values(ctx, target)
        for _ in range(150):
            number = rng.randrange(len(registers) + 1)
            largest = WORD_MAX
            if number < len(registers):
                register = registers[number]
                largest = register.largest_words[number - register.numbers[0]]
            word = rng.choice([0, largest - 1, largest, largest + 1, rng.getrandbits(WORD_BITS)])
            word = rng.randrange(largest + 1) if rng.random() < 0.5 else word & WORD_MAX
            await host.write_word(number, word)
            model.write(number, word)
            if rng.random() < 0.1:
                await host.write_word(0, 0)
                model.write(0, 0)
            assert values.all() == model.values
            assert host.strobes == model.strobes
            assert ctx.get(target.order.valid) == model.offered
            assert await host.read("refused") == model.refused
            if rng.random() < 0.3:
                host.ready = True
                await host.tick()
                host.ready, model.offered = False, False
                await host.tick()

    play(scene)


def test_a_lost_byte_drops_its_frame_and_no_strobe_follows_until_the_host_knows() -> None:
    """In every place of a frame, and between frames."""

    async def scene(ctx: Any, target: Any, host: Host) -> None:
        port_broken = host._port.broken
        for length in range(WORD_BYTES + 1):
            await host.send(MAP.write["key.value"].write_frames(WORD_MAX)[:length])
            ctx.set(port_broken, 1)
            await host.tick()
            ctx.set(port_broken, 0)
            await host.tick()
            assert ctx.get(target.key.value) == 0
            assert await host.read("identity") == MAP.identity
            lost = await host.read("refused")
            assert lost == WRITE_FLAG | LOST
            assert MAP.refused_name(lost) == "a byte that was lost"
            strobes = dict(host.strobes)
            await host.write("key.enable")
            assert host.strobes == strobes
            await host.write("refused")
            await host.write("key.enable")
            assert host.strobes["key.enable"] == strobes["key.enable"] + 1

    play(scene)


def test_the_port_of_a_whole_accelerator_is_small() -> None:
    """No multiplier; its LUTs and registers are counted, so that growth is seen."""
    signature = HostPorts(ADDITION.design())
    port = RegisterPort(signature, ACCESS, register_map(signature, ACCESS))
    text = rtlil.convert(port, name="port", emit_src=False)
    assert not forbidden_cells(text)
    cells = ecp5_cells({"port.il": text}, "port")
    assert luts(cells) < 850, luts(cells)
    assert cells["TRELLIS_FF"] < 1500, cells["TRELLIS_FF"]
