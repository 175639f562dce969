"""What a host can do to the chip besides playing tokens: cancelling, loading, breaking memories.

cocotb tests, run by test_chip.py (not by pytest).
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import wraps
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.chip.memory_map import LOAD_BITS, LOADED_MEMORIES, loaded_shape
from mmfree.chip.records import records
from mmfree.contract.shape import segment_name
from mmfree.errors import InputError
from mmfree.golden.opening import golden_of
from mmfree.golden.sampling import Sampler
from mmfree.host.interface import Fault, LoadRefusedError, Request, Result
from mmfree.tape.reading import AnyTape
from sim.cosim.driver import Driver
from sim.cosim.due import Model
from sim.cosim.run_folder import read_run, read_tapes
from sim.cosim.testbench import FOLDER
from sim.tracing.divergence import TapMonitor, first_divergence
from tests.support.hdl.chip import words_read
from tests.support.hdl.streams import ContractError
from tests.support.sim.streams import ChipStreams

TOKENS = [3, 1, 4, 1, 5]


class Chip:
    """A chip under test, its tape and image."""

    def __init__(self, dut: Any) -> None:
        run = read_run(FOLDER)
        self.dut, self.design, self.driver = dut, run.design, Driver(dut, run)
        self.tape: AnyTape = read_tapes(FOLDER)[0]
        self.image: Image = layout(self.tape, self.design)
        self.streams = ChipStreams(dut, self.design)

    async def idle(self, cycles: int) -> None:
        """Let some cycles pass."""
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)

    async def state(self) -> NDArray[np.int32]:
        """All words of the current state."""
        return await self.driver.read_state(self.design.state_words)

    async def logits(self) -> NDArray[np.int32]:
        """The last logits."""
        words = -(-self.tape.config.head_size // self.design.post_width)
        flat = await self.driver.read_logits(words)
        return flat[: self.tape.config.head_size]

    async def write(self, name: str, word: int, value: int) -> None:
        """One word of a memory."""
        await self.driver.load(self.image.word_writes(name, word, value))


def chip_test(test: Callable[[Chip], Awaitable[None]]) -> Any:
    """A cocotb test of a chip after reset, whose streams are watched; no request may be left."""

    @wraps(test)
    async def run(dut: Any) -> None:
        chip = Chip(dut)
        await chip.driver.reset()
        watching = cocotb.start_soon(chip.streams.watch())
        await test(chip)
        await chip.idle(3)
        watching.cancel()
        assert chip.streams.contracts["request"].taken
        assert chip.streams.open == 0

    return cocotb.test()(run)


@chip_test
async def writing_while_a_token_is_played_is_refused(chip: Chip) -> None:
    """The token, and the next, come out as if nothing had been tried."""
    model = Model(chip.tape)
    value = chip.image.words["weights"][0]
    for position, token in enumerate(TOKENS):
        await chip.driver.send(Request(token=token, begin=position == 0))
        with pytest.raises(LoadRefusedError, match=r"word 0 of weights: a token is being played"):
            await chip.write("weights", 0, value ^ 1)
        # A seed is ignored until the token has ended.
        chip.dut.seed__enable.value = 1
        await FallingEdge(chip.dut.clk)
        chip.dut.seed__enable.value = 0
        answer = await chip.driver.wait()
        await chip.driver.take()
        logits, row, _ = model.play(token, position == 0)
        assert answer == Result(row, True)
        assert (await chip.logits()).tolist() == logits.tolist()


@chip_test
async def every_write_of_a_token_is_seen_in_its_segment(chip: Chip) -> None:
    """Also the last of a vector, though the next segment has begun by then.

    So a chip that works has no divergence.
    """
    monitor = TapMonitor(chip.dut, chip.design)
    watching = cocotb.start_soon(monitor.watch())
    await chip.driver.play(Request(token=3, begin=True))
    watching.cancel()
    trace: dict[str, NDArray[Any]] = {}
    golden = golden_of(chip.tape)
    golden.step(
        np.array([3]), golden.state(1), trace=lambda name, values: trace.update({name: values[0]})
    )
    assert first_divergence(monitor.writes, trace, chip.tape, chip.design) is None


@chip_test
async def an_image_for_another_design_is_refused(chip: Chip) -> None:
    """Nothing is sent: the next token is as if it had not been tried."""
    other = layout(chip.tape, replace(chip.design, embedding_rows=chip.design.embedding_rows + 1))
    with pytest.raises(InputError, match="laid out for another design: embedding_rows of "):
        await chip.driver.load_image(other)
    _, row, _ = Model(chip.tape).play(1, True)
    assert await chip.driver.play(Request(token=1, begin=True)) == Result(row, True)


@chip_test
async def what_is_beyond_the_memory_is_refused(chip: Chip) -> None:
    """An image that was laid out for another design has such words, parts or bits."""
    shape, number = loaded_shape(chip.design, "tables"), LOADED_MEMORIES.index("tables")
    assert shape.part_bits < LOAD_BITS
    parts, bits = shape.parts, shape.part_bits
    expected = f"of tables: it has {shape.depth} words of {parts} parts of {bits} bits"
    for place in ((shape.depth, 0, 0), (0, parts, 0), (0, 0, 1 << bits)):
        with pytest.raises(LoadRefusedError, match=expected):
            await chip.driver.load([(number, *place)])
    assert not isinstance(await chip.driver.play(Request(token=1, begin=True)), Fault)


@chip_test
async def a_cancelled_request_ends_with_the_token_in_progress(chip: Chip) -> None:
    """Or with the next, if a result waits meanwhile, which then stays as it is.

    The state is that after the last result, and the next request goes on from there.
    """
    for waits in (False, True):
        model = Model(chip.tape)
        await chip.driver.send(Request(token=2, begin=True, limit=50))
        token, lasts = 2, []
        while True not in lasts:
            if len(lasts) == 3 and not waits:
                await chip.driver.cancel()
            answer = await chip.driver.wait()
            if len(lasts) == 3 and waits:
                await chip.driver.cancel()
                await chip.idle(5)
            assert await chip.driver.wait() == answer
            await chip.driver.take()
            assert isinstance(answer, Result)
            _, row, _ = model.play(token, not lasts)
            assert answer.row == row
            token = row
            lasts.append(answer.last)
        assert lasts == [*[False] * (3 + waits), True]
        for _ in range(50):
            await chip.idle(1)
            assert not int(chip.dut.playing.value)
        logits, row, _ = model.play(1, False)
        assert await chip.driver.play(Request(token=1, begin=False)) == Result(row, True)
        assert (await chip.logits()).tolist() == logits.tolist()


@cocotb.test()
async def a_stream_that_breaks_its_contract_is_noticed(dut: Any) -> None:
    """A request that is withdrawn while a token is played."""
    chip = Chip(dut)
    await chip.driver.reset()
    await chip.driver.send(Request(token=1, begin=True))
    for valid in (1, 1, 0):
        dut.request__valid.value = valid
        with pytest.raises(ContractError) if not valid else nullcontext():
            await chip.streams.step()
        await FallingEdge(dut.clk)


@chip_test
async def every_flipped_bit_is_found_and_the_repeated_pass_is_exact(chip: Chip) -> None:
    """Single-bit faults at random places that a token reads: no token, no change of state.

    With the bit flipped back, the same request gives the right token.
    """
    asked = json.loads((FOLDER / "faults.json").read_text())
    rng = random.Random(asked["seed"])
    model = Model(chip.tape)
    tape, found = chip.tape, dict.fromkeys(asked["faults"], 0)
    names = ["embedding", *(segment.name for segment in tape.segments)]
    plan = [name for name, count in asked["faults"].items() for _ in range(count)]
    rng.shuffle(plan)
    begin = True
    for trial, name in enumerate(plan):
        if trial % 20 == 0:
            begin = True  # sequences of 20 tokens
        token = rng.randrange(tape.config.vocab_size)
        before = model.golden.state(1) if begin else model.state
        shape = loaded_shape(chip.design, name)
        if name == "weights":
            word = rng.randrange(len(chip.image.words[name]))
        else:
            word = rng.choice(words_read(tape, chip.design, token, before)[name])
        value = chip.image.words[name][word]
        await chip.write(name, word, value ^ 1 << rng.randrange(shape.bits + shape.parity))
        state = await chip.state()
        answer = await chip.driver.play(Request(token=token, begin=begin))
        assert isinstance(answer, Fault), (
            f"trial {trial}: word {word} of {name} was not found, {answer}"
        )
        assert answer.memory == name
        assert names[answer.segment] == expected_segment(chip, name, word, names[answer.segment])
        found[name] += 1
        if not begin:
            assert (await chip.state() == state).all()
        await chip.write(name, word, value)
        logits, row, _ = model.play(token, begin)
        assert await chip.driver.play(Request(token=token, begin=begin)) == Result(row, True)
        assert (await chip.logits()).tolist() == logits.tolist()
        begin = False
    (FOLDER / "found.json").write_text(json.dumps(found))


@chip_test
async def a_header_that_stays_wrong_is_found_every_time(chip: Chip) -> None:
    """Passes that end early follow each other closely; nothing of one is a fault of the next."""
    for number, value in enumerate(chip.image.words["headers"]):
        await chip.write("headers", number, value ^ 4)
        for _ in range(5):
            assert await chip.driver.play(Request(token=1, begin=True)) == Fault("headers", number)
        await chip.write("headers", number, value)
        _, row, _ = Model(chip.tape).play(1, True)
        assert await chip.driver.play(Request(token=1, begin=True)) == Result(row, True)


@chip_test
async def a_wrong_entry_of_the_noise_is_found_and_the_same_numbers_are_drawn_again(
    chip: Chip,
) -> None:
    """Ten tokens, before each a flipped bit in an entry that it will read."""
    await chip.driver.seed(11)
    model, ahead, rng = Model(chip.tape), Sampler(11), random.Random(4)
    model.sampler = Sampler(11)
    shape = loaded_shape(chip.design, "gumbel")
    for position in range(10):
        word = rng.choice(ahead.words(chip.tape.config.head_size).tolist())
        entry = word >> 10 if word >> 10 < 1023 else 1024 + word % 1024
        value = chip.image.words["gumbel"][entry]
        await chip.write("gumbel", entry, value ^ 1 << rng.randrange(shape.bits + 1))
        request = Request(token=2, begin=position == 0, temperature=200)
        await chip.driver.send(request)
        assert await chip.driver.wait() == Fault("gumbel", len(chip.tape.segments))
        await chip.driver.take()
        await chip.write("gumbel", entry, value)
        await chip.driver.send(request)
        _, row, _ = model.play(2, position == 0, 200)
        assert await chip.driver.wait() == Result(row, True)
        await chip.driver.take()


def expected_segment(chip: Chip, name: str, word: int, named: str) -> str:
    """The segment whose pass reads the word; for memories that several read, the one named."""
    if name == "headers":
        return ["embedding", *(segment.name for segment in chip.tape.segments)][word]
    if name == "embedding":
        return "embedding"
    if name == "weights":
        end = 0
        for record in records(chip.tape.config, chip.design):
            end += record.words
            if word < end:
                return segment_name(record.kind, record.layer)
    return named
