"""Every stream of every component keeps its contract, with idle cycles and back-pressure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.lib import wiring

from hdl.accelerator import Accelerator
from hdl.control.requests import Requests
from hdl.control.sequencer import Sequencer
from hdl.link.host_ports import ACCESS, HostPorts
from hdl.link.register_map import register_map
from hdl.link.register_port import RegisterPort
from hdl.link.serial import FRAME_BITS, Receiver, Transmitter
from hdl.memory.sources.rows import RowSource
from hdl.payloads import fault_layout, result_layout
from mmfree.chip.layout import layout
from mmfree.chip.memory_map import LOADED_MEMORIES
from mmfree.chip.registers import WORD_BYTES, Register
from mmfree.chip.sizing import design_of_array
from mmfree.golden.pow2 import Golden
from tests.hdl.control.test_requests import answer_requests, payload
from tests.hdl.control.test_sequencer import answer_tokens
from tests.hdl.link.test_serial import levels
from tests.hdl.memory.sources.test_row_source import play_rows
from tests.support.hdl.bench import play_streams
from tests.support.hdl.components import COMPONENTS, instance
from tests.support.hdl.streams import PACES, Carried, Pace, get, put, streams_of
from tests.support.sim.shapes import ODD, TINY

DIVISOR = 5
BYTES = [0x00, 0xFF, 0x55, *random.Random(1).randbytes(9)]


def receive_bytes(pace: Pace) -> Carried:
    """A line with pauses; no byte waits for so long that the next one is lost."""
    rng, block = random.Random(2), Receiver(DIVISOR)

    async def line(ctx: Any) -> None:
        for byte in BYTES:
            while rng.random() < pace.idle:
                ctx.set(block.rx, 1)
                await ctx.tick()
            for level in levels(byte):
                ctx.set(block.rx, level)
                for _ in range(DIVISOR):
                    await ctx.tick()

    return play_streams(block, {"bytes": BYTES}, pace, line)


def send_bytes(pace: Pace) -> Carried:
    """And each is on the line."""
    block, seen = Transmitter(DIVISOR), []

    async def listen(ctx: Any) -> None:
        while True:
            while ctx.get(block.tx):
                await ctx.tick()
            frame = []
            for cycle in range(FRAME_BITS * DIVISOR - 1):
                if cycle % DIVISOR == DIVISOR // 2:
                    frame.append(ctx.get(block.tx))
                await ctx.tick()
            seen.append(frame)

    carried = play_streams(block, {"bytes": BYTES}, pace, listen)
    # The last frame is still on the line.
    assert seen == [levels(byte) for byte in BYTES[: len(seen)]]
    assert len(seen) >= len(BYTES) - 1
    return carried


DESIGN = ODD.design()


def exchange_frames(pace: Pace) -> Carried:
    """A host sends requests, and reads and takes results and faults, register by register."""
    rng, registers = random.Random(3), register_map(HostPorts(DESIGN), ACCESS)
    block = RegisterPort(HostPorts(DESIGN), ACCESS, registers)
    target, results, faults = block.target, [], []
    plan: list[tuple[Callable[[Any], bool], bytes]] = []
    sent = b""

    def waits(offered: Any) -> Callable[[Any], bool]:
        return lambda ctx: bool(ctx.get(offered.valid))

    def is_taken(ctx: Any) -> bool:
        return not ctx.get(target.request.valid)

    def answer(register: Register, value: int) -> bytes:
        return value.to_bytes(WORD_BYTES * len(register.numbers), "little")

    requests = [payload(rng.randrange(7), rng.randrange(2), rng.randrange(99)) for _ in range(6)]
    write, read = registers.write, registers.read
    for number, request in enumerate(requests):
        fields = request | {f"token.{name}": value for name, value in request["token"].items()}
        del fields["token"]
        frames = b"".join(
            write[f"request.payload.{name}"].write_frames(value) for name, value in fields.items()
        )
        plan.append((is_taken, frames + write["request"].write_frames()))
        if number % 3 == 2:
            name, shape, asked, kept = "fault", fault_layout(DESIGN), target.fault, faults
            item = {"memory": rng.randrange(7), "segment": rng.randrange(5)}
        else:
            name, shape, asked, kept = "result", result_layout(DESIGN), target.result, results
            item = {"row": rng.randrange(5), "last": rng.randrange(2)}
        kept.append(item)
        register = read[f"{name}.payload"]
        frames = register.read_frames() + write[name].write_frames()
        plan.append((waits(asked), frames))
        sent += answer(register, shape.const(item).as_bits())

    async def host(ctx: Any) -> None:
        for number, (may, frames) in enumerate(plan):
            while not may(ctx):
                await ctx.tick()
            await put(ctx, block.received, list(frames), idle=pace.idle, seed=number)

    async def take(ctx: Any) -> None:
        await get(ctx, block.sent, back_pressure=pace.back_pressure, seed=9)

    expected = {
        "received": [byte for _, frames in plan for byte in frames],
        "sent": list(sent),
        "target.request": requests,
        "target.result": results,
        "target.fault": faults,
    }
    return play_streams(block, expected, pace, host, take, driven=("received", "sent"))


BAD_TOKEN = 2
"""Its row of the embedding has a wrong bit."""

ARRAYS = dict(zip(PACES, ((1, 2, 1), (2, 2, 2), (6, 2, 1), (8, 2, 2)), strict=True))
"""At each pace another array plays: one row; all columns at a time; rows that are no power of two,
and just more than the model is wide; twice as many.
"""


def play_tape(pace: Pace) -> Carried:
    """Requests of one and of several tokens, some of which meet a fault."""
    config = replace(TINY.config, hidden_size=5, intermediate_size=3)
    tape = replace(TINY, config=config).tape(1, wild=False)
    design = design_of_array(config, *ARRAYS[pace])
    image, golden = layout(tape, design), Golden(tape)
    words = image.words | {"embedding": list(image.words["embedding"])}
    words["embedding"][BAD_TOKEN] ^= 1
    block = Accelerator(design, replace(image, words=words))
    requests, results, faults = [], [], []
    for token, limit in ((3, 1), (BAD_TOKEN, 3), (4, 3), (BAD_TOKEN, 1), (5, 0)):
        requests.append(payload(token, 1, limit))
        requests[-1]["temperature"] = 0
        state = golden.state()
        for left in reversed(range(max(1, limit))):
            if token == BAD_TOKEN:
                faults.append({"memory": LOADED_MEMORIES.index("embedding"), "segment": 0})
                break
            logits, state = golden.step(np.array([token]), state)
            token = int(logits[0].argmax())
            results.append({"row": token, "last": int(left == 0)})
    expected = {"request": requests, "result": results, "fault": faults}
    inner = (block.blocks.requests, block.blocks.sequencer)
    return play_streams(block, expected, pace, inner=inner)


SCENES: dict[type[wiring.Component], Callable[[Pace], Carried]] = {
    Accelerator: play_tape,
    Receiver: receive_bytes,
    RegisterPort: exchange_frames,
    Requests: answer_requests,
    RowSource: play_rows,
    Sequencer: answer_tokens,
    Transmitter: send_bytes,
}
"""Component -> what plays all of its streams."""


def test_every_component_with_a_stream_has_a_scene() -> None:
    assert {kind for kind in COMPONENTS if streams_of(instance(kind))} == set(SCENES)


@pytest.mark.parametrize("pace", PACES, ids=str)
@pytest.mark.parametrize("kind", SCENES, ids=lambda kind: kind.__name__)
def test_every_stream_keeps_its_contract(kind: type[wiring.Component], pace: Pace) -> None:
    """Each carries something: exactly what it should, in order."""
    carried = SCENES[kind](pace)
    assert set(carried) == set(streams_of(instance(kind)))
    assert all(carried.values())
