"""A whole small accelerator over its serial line: a host sees what the golden model computes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from hdl.boards.system import System
from hdl.interface import values_layout
from hdl.link.limits import pack_array
from mmfree.chip.layout import layout
from mmfree.chip.memory_map import LOADED_MEMORIES
from mmfree.chip.registers import WRITE_FLAG
from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.golden.sampling import Sampler, seed_registers
from tests.support.hdl.bench import simulate
from tests.support.hdl.host import SerialHost
from tests.support.sim.shapes import ODD

DIVISOR = 4
TAPE, DESIGN = ODD.tape(1, wild=False), ODD.design()
IMAGE = layout(TAPE, DESIGN)
VALUES = values_layout(DESIGN, DESIGN.post_width)
MOST_POLLS = 20
"""A token takes less than 2,000 cycles, and asking for a register some hundred."""


def play(scene: Callable[[System, SerialHost, Any], Coroutine[Any, Any, None]]) -> None:
    """Simulate a scene."""
    system = System(DESIGN, IMAGE, DIVISOR)

    async def bench(ctx: Any) -> None:
        await scene(system, SerialHost(ctx, system, DIVISOR), ctx)

    blocks = system.accelerator.blocks
    simulate(system, bench, inner=(system.accelerator, blocks.requests, blocks.sequencer))


async def ask(host: SerialHost, token: int, begin: bool, temperature: int = 0) -> dict[str, int]:
    """Ask for a token to be played, and take the result."""
    fields = {"token.id": token, "token.begin": int(begin), "temperature": temperature, "limit": 1}
    await host.write_fields("request.payload", fields)
    await host.write("request")
    for _ in range(MOST_POLLS):
        assert not await host.read("fault.valid")
        if await host.read("result.valid"):
            break
    else:
        pytest.fail("the token has no result")
    answer = await host.read_fields("result.payload")
    assert await host.lights() == {"playing": 0, "result": 1, "fault": 0}
    await host.write("result")
    assert not await host.read("result.valid"), "taken"
    assert await host.lights() == {"playing": 0, "result": 0, "fault": 0}
    return answer


def test_tokens_logits_and_state_are_the_golden_models() -> None:
    """Tokens of a sequence, the last one drawn; then logits and state, word by word."""
    golden, seed, temperature = Golden(TAPE), 5, 200

    async def scene(system: System, host: SerialHost, ctx: Any) -> None:
        assert await host.read("identity") == system.registers.identity
        a, b = seed_registers(seed)
        await host.write_fields("seed.registers", {"a": a, "b": b})
        await host.write("seed.enable")
        state = golden.state()
        for position, (token, drawn) in enumerate(((3, 0), (5, 0), (1, temperature))):
            logits, state = golden.step(np.array([token]), state)
            answer = await ask(host, token, position == 0, drawn)
            row = Sampler(seed).choose(logits[0], drawn, 9)
            assert answer == {"row": row, "last": 1}
        width = DESIGN.post_width
        for name, expected in (("logits", logits[0]), ("state", state[0, 0])):
            found: list[int] = []
            for word in range(-(-len(expected) // width)):
                await host.write(f"{name}.address", word)
                values = VALUES.from_bits(await host.read(f"{name}.data"))
                found += [values[place] for place in range(width)]
            assert found[: len(expected)] == expected.tolist()
        counters = await host.read_fields("counters")
        assert 0 < counters["cycles"] < 2000
        assert not await host.read("playing")

    play(scene)


async def load(host: SerialHost, word: int, value: int) -> None:
    """Write a word of the embedding."""
    for memory, place, part, data in IMAGE.word_writes("embedding", word, value):
        fields = {"memory": memory, "word": place, "part": part, "data": data}
        await host.write_fields("load", fields)
        await host.write("load.enable")


def test_a_host_writes_memories_and_takes_faults() -> None:
    """A word with a parity error withholds the token; when it is corrected, the token is played."""
    golden = Golden(TAPE)

    async def scene(system: System, host: SerialHost, ctx: Any) -> None:
        right = IMAGE.words["embedding"][2]
        await load(host, 2, right ^ 1)
        fields = {"token.id": 2, "token.begin": 1, "limit": 1}
        await host.write_fields("request.payload", fields)
        await host.write("request")
        for _ in range(MOST_POLLS):
            assert not await host.read("result.valid")
            if await host.read("fault.valid"):
                break
        assert await host.lights() == {"playing": 0, "result": 0, "fault": 1}
        fault = await host.read_fields("fault.payload")
        assert LOADED_MEMORIES[fault["memory"]] == "embedding"
        await host.write("fault")
        assert not await host.read("fault.valid")
        assert ctx.get(system.fault) == 0
        assert not await host.read("load.refused")
        await load(host, 2, right)
        assert (await ask(host, 2, True))["row"] == int(golden.play([2])[0].argmax())

    play(scene)


def test_a_word_number_that_does_not_fit_overwrites_no_other_word() -> None:
    """Its lowest bits are the number of another word, in which nothing changes."""
    golden = Golden(TAPE)
    *_, (_, _, _, last_part) = IMAGE.word_writes("embedding", 2, IMAGE.words["embedding"][2])

    async def scene(system: System, host: SerialHost, ctx: Any) -> None:
        await load(host, 2, IMAGE.words["embedding"][2])
        with pytest.raises(InputError, match=r"^load.word must lie in 0..2048, got 4098$"):
            await host.write("load.word", 4098)
        # As a host that checks nothing would; in word 2 it would be a parity error.
        (number,) = system.registers.write["load.word"].numbers
        await host.send(bytes([WRITE_FLAG | number, 0x02, 0x10, 0, 0]))
        await host.write("load.data", last_part ^ 1)
        await host.write("load.enable")
        assert await host.refused() == "load.word"
        await host.write("load.enable")
        assert await host.refused() == "load.enable"
        assert (await ask(host, 2, True))["row"] == int(golden.play([2])[0].argmax())
        assert await host.refused() is None

    play(scene)


def test_state_is_written() -> None:
    """A sequence goes on from a state that a host wrote."""
    golden = Golden(TAPE)
    rng = np.random.default_rng(0)
    state = rng.integers(-3000, 3000, golden.state().shape).astype(np.int16)
    logits, _ = golden.step(np.array([4]), state)

    async def scene(system: System, host: SerialHost, ctx: Any) -> None:
        width = DESIGN.post_width
        words = np.zeros(DESIGN.state_words * width, dtype=np.int16)
        words[: state.size] = state.reshape(-1)
        for address in range(DESIGN.state_words):
            await host.write("state.address", address)
            word = words[address * width :][:width].tolist()
            await host.write("state.write", pack_array(VALUES, "state.write", word))
            await host.write("state.enable")
        assert (await ask(host, 4, False))["row"] == int(logits[0].argmax())

    play(scene)


@pytest.mark.parametrize("cut", [1, 4])
def test_a_break_starts_a_new_frame(cut: int) -> None:
    async def scene(system: System, host: SerialHost, ctx: Any) -> None:
        await host.send(system.registers.write["load.data"].write_frames(0x2AAAA)[:cut])
        for _ in range(12 * DIVISOR):
            ctx.set(system.rx, 0)
            await ctx.tick()
        for _ in range(2 * DIVISOR):
            await host.tick()
        assert await host.read("identity") == system.registers.identity
        assert ctx.get(system.accelerator.load.data) == 0

    play(scene)


def test_a_frame_that_is_sent_during_an_answer_is_dropped_where_bytes_were_lost() -> None:
    """Its first byte waits, the next ones are lost: nothing is written, and a new frame works."""

    async def scene(system: System, host: SerialHost, ctx: Any) -> None:
        registers = system.registers
        await host.write("load.data", 0x2AAAA)
        early = registers.write["load.data"].write_frames(0)
        await host.send(registers.read["identity"].read_frames() + early)
        # Those of its bytes that come after the loss ask for the identity.
        for _ in range(200 * DIVISOR):
            await host.tick()
        host.forget()
        assert await host.read("identity") == registers.identity
        assert ctx.get(system.accelerator.load.data) == 0x2AAAA

    play(scene)
