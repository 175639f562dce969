"""Faults of an external memory, and resets in the middle of its bursts.

cocotb tests, run by tests/sim/memory/test_faults.py (not by pytest).
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.triggers import FallingEdge
from numpy.typing import NDArray

from hdl.memory.sources.axi import margin
from mmfree.chip.memory_image import EMBEDDING, MemoryImage
from mmfree.chip.memory_map import SCALE_BITS, row_beats, row_bytes, weight_memories
from mmfree.chip.records import records
from mmfree.host.interface import Fault, LoadRefusedError, Request, Result
from sim.cosim.due import Model
from sim.cosim.run_folder import Models, read_run
from sim.cosim.testbench import FOLDER
from sim.tracing.divergence import TapMonitor, first_divergence
from sim.tracing.writes import RECORDS_NAME, Writes, read_writes, stored_bits
from tests.support.sim.cocotb_chip import Chip

BURST_WORDS = 16
LONG_WAITS = ("a_burst_that_is_never_answered_is_given_up",)
"""Tests of so many cycles that Python does not look at each."""

SETTLE_CYCLES = 2000
"""After which a ring is full, and nothing is under way."""


class ExternalChip(Chip):
    """A chip whose weights are in an external memory, its golden model, and where the image is."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.run = read_run(FOLDER)
        (self.placed,) = Models(FOLDER).images(self.design)
        self.model = Model(self.tape)
        assert self.design.external is not None
        self.port_bytes = self.design.external.port_bytes
        self.rows_port = self.design.num_groups
        self.rng = random.Random(self.run.seed)

    async def place(self) -> None:
        """The image is read anew from its beginning on."""
        await self.driver.place_image(self.placed, self.run.memory.base)

    async def set(self, **pins: int) -> None:
        """Pins of the memory's model, for a cycle of its clock at least."""
        for name, value in pins.items():
            getattr(self.dut, f"memory_{name}").value = value
        if self.run.memory.bus_ns is not None:
            await FallingEdge(self.dut.bus_clk)
            await FallingEdge(self.dut.bus_clk)
        await FallingEdge(self.dut.clk)

    async def flip(self, offset: int, bit: int) -> None:
        """Invert a bit of the image's file."""
        await self.set(flip=1, flip_offset=offset, flip_bit=bit)
        await self.set(flip=0)

    def recorded(self) -> Writes:
        """The writes of the last token."""
        bits = stored_bits(self.design)
        return read_writes(FOLDER / RECORDS_NAME, self.design.post_width, bits)

    async def play(self, token: int, begin: bool) -> Result | Fault:
        return await self.driver.play(Request(token=token, begin=begin))

    async def check_exact(self, token: int, begin: bool) -> None:
        """A token, on chip and model: row, logits and state."""
        logits, row, _ = self.model.play(token, begin)
        assert await self.play(token, begin) == Result(row, True)
        assert (await self.logits()).tolist() == logits.tolist()
        config, flat = self.tape.config, await self.state()
        state = flat.reshape(config.num_layers, -1)[:, : config.hidden_size]
        assert (state == self.model.state[:, 0]).all()

    async def logits(self) -> NDArray[np.int32]:
        """The last logits, as they were recorded."""
        logits = self.recorded().vector("logits", np.arange(self.tape.config.head_size))
        assert logits is not None
        return logits.astype(np.int32)

    def segment_of(self, word: int) -> int:
        """Entry of the segment table whose pass reads a word."""
        (number,) = (n for n, _, words in self.stretches() if word in words)
        return number

    def stretches(self) -> Iterator[tuple[int, str, range]]:
        """Entry of the segment table, kind and numbers of the words of a pass, in order."""
        first = 0
        for number, record in enumerate(records(self.tape.config, self.design)):
            counts = {
                "weights": record.weights,
                "own gains": record.own_gains,
                "bounds": record.bounds,
                "gains": record.gains,
                "check": min(1, record.words),
            }
            for kind, count in counts.items():
                if count:
                    yield number, kind, range(first, first + count)
                first += count
        assert first == self.placed.words


def external_test(test: Callable[[ExternalChip], Awaitable[None]]) -> Any:
    """A cocotb test of a chip whose image was placed, and whose streams are watched."""

    @wraps(test)
    async def run(dut: Any) -> None:
        chip = ExternalChip(dut)
        await chip.driver.reset()
        watching = cocotb.start_soon(chip.streams.watch())
        await chip.place()
        if test.__name__ in LONG_WAITS:
            watching.cancel()
        await test(chip)
        await chip.idle(3)
        watching.cancel()
        assert chip.streams.open == 0

    return cocotb.test()(run)


def byte_that_a_pass_reads(chip: ExternalChip, token: int, kind: str) -> tuple[int, Fault]:
    """A byte of the file that belongs to a row, or to words of a kind, and the fault that an error
    in it must give.
    """
    image: MemoryImage = chip.placed
    if kind in ("row", "scale"):
        row = image.region(EMBEDDING).offset + token * row_bytes(chip.design)
        last = (row_beats(chip.design) - 1) * chip.port_bytes
        # The check beat ends with its check word; a scale is in the first beat.
        count = last + 4 if kind == "row" else SCALE_BITS // 8
        return row + chip.rng.randrange(count), Fault("embedding", 0)
    group = chip.rng.randrange(chip.design.num_groups)
    stretches = [words for _, found, words in chip.stretches() if kind in ("any", found)]
    word = chip.rng.choice([word for words in stretches for word in words])
    region = image.region(weight_memories(chip.design)[group])
    offset = region.offset + word * chip.port_bytes + chip.rng.randrange(chip.port_bytes)
    return offset, Fault("weights", chip.segment_of(word))


def faults_asked() -> int:
    """How many faults are asked for."""
    faults: int = json.loads((FOLDER / "faults.json").read_text())
    return faults


@external_test
async def every_flipped_bit_is_found_and_the_repeated_pass_is_exact(chip: ExternalChip) -> None:
    """Single-bit faults at random places that a token reads: no token, no change of state.

    With the bit flipped back, the same request gives the right token.
    """
    kinds = ["any", "row", *sorted({kind for _, kind, _ in chip.stretches()})]
    if chip.design.arithmetic == "absmax":
        assert {"own gains", "gains", "bounds", "weights", "check"} < set(kinds)
        kinds.append("scale")
    plan = [kinds[trial % len(kinds)] for trial in range(faults_asked())]
    chip.rng.shuffle(plan)
    for trial, kind in enumerate(plan):
        token, begin = chip.rng.randrange(chip.tape.config.vocab_size), trial % 20 == 0
        offset, expected = byte_that_a_pass_reads(chip, token, kind)
        bit = chip.rng.randrange(8)
        before = await chip.state()
        await chip.flip(offset, bit)
        await chip.place()
        found = await chip.play(token, begin)
        assert found == expected, f"trial {trial}, {kind}: byte {offset}, bit {bit}: {found}"
        assert (await chip.state() == before).all() or begin
        await chip.flip(offset, bit)
        await chip.place()
        await chip.check_exact(token, begin)
    (FOLDER / "found.json").write_text("true")


@external_test
async def every_write_is_recorded_as_the_taps_show_it(chip: ExternalChip) -> None:
    """Cycle by cycle, with the segment that it belongs to: so no divergence is found in them."""
    monitor = TapMonitor(chip.dut, chip.design)
    watching = cocotb.start_soon(monitor.watch())
    await chip.play(3, True)
    watching.cancel()
    recorded = chip.recorded().each()
    late = recorded[0].cycle - monitor.writes[0].cycle
    seen = [replace(write, cycle=write.cycle + late) for write in monitor.writes]
    # In a cycle several vectors may be written.
    assert set(recorded) == set(seen)
    assert len(recorded) == len(seen) > 100
    trace: dict[str, NDArray[Any]] = {}
    chip.model.golden.step(
        np.array([3]),
        chip.model.golden.state(1),
        trace=lambda name, values: trace.update({name: values[0]}),
    )
    assert first_divergence(recorded, trace, chip.tape, chip.design) is None
    # A token that is given up leaves nothing for the next.
    await chip.driver.send(Request(token=1, begin=True))
    await chip.idle(300)
    await chip.driver.reset_bus()
    assert isinstance(await chip.driver.wait(), Fault)
    await chip.driver.take()
    await chip.play(3, True)
    assert len(chip.recorded().values) == len(recorded)


@external_test
async def what_no_pass_reads_may_be_anything(chip: ExternalChip) -> None:
    """The first page, what fills pages up, and rows of other tokens."""
    rows = chip.placed.region(EMBEDDING)
    ends = [region.offset + region.num_bytes for region in chip.placed.regions]
    places = [0, 100, 4095, *(end for end in ends if end % 4096), rows.offset]
    for begin, offset in enumerate(places):
        await chip.flip(offset, 3)
        await chip.place()
        await chip.check_exact(1, not begin)


@external_test
async def an_error_for_an_answer_is_a_fault_of_its_segment(chip: ExternalChip) -> None:
    """Of a word of weights, of the last one, and of a row's tile; without it the pass is exact."""
    base, words = chip.run.memory.base, chip.placed.words
    row = chip.placed.region(EMBEDDING).offset + 2 * row_bytes(chip.design)
    places = [(row, Fault("embedding_response", 0))]
    for word in (0, words // 3, words - 1):
        region = chip.placed.region(chip.rng.choice(weight_memories(chip.design)))
        offset = region.offset + word * chip.port_bytes
        places.append((offset, Fault("weights_response", chip.segment_of(word))))
    for number, (offset, expected) in enumerate(places):
        await chip.set(error=1, error_address=base + offset)
        await chip.place()
        assert await chip.play(2, number == 0) == expected
        await chip.set(error=0)
        await chip.place()
        await chip.check_exact(2, number == 0)


@external_test
async def an_image_that_is_elsewhere_is_an_error(chip: ExternalChip) -> None:
    """Its first word is outside of the memory."""
    await chip.driver.place_image(chip.placed, chip.run.memory.base + (1 << 30))
    found = await chip.play(1, True)
    # Whichever comes first: the row, or the parameters before the first layer.
    assert found in (Fault("embedding_response", 0), Fault("weights_response", 0))
    await chip.place()
    await chip.check_exact(1, True)


@external_test
async def a_burst_that_is_never_answered_is_given_up(chip: ExternalChip) -> None:
    """The fault names the segment that waits. After a reset of the bus all is well.

    Of bursts that lie in one segment with the words before them that a ring keeps: at which of
    these a pass waits is a matter of how fast words are taken.
    """
    kept = margin(chip.design, chip.design.num_groups - 1)
    bursts = []
    for first in range(0, chip.placed.words, BURST_WORDS):
        segment = chip.segment_of(first)
        if chip.segment_of(max(0, first - kept)) == segment:
            bursts.append((first // BURST_WORDS, segment))
    assert len({segment for _, segment in bursts}) > 1
    for number, (burst, segment) in enumerate([bursts[0], bursts[len(bursts) // 2], bursts[-1]]):
        port = chip.rng.randrange(chip.design.num_groups)
        await chip.idle(SETTLE_CYCLES)
        await chip.set(mute=1, mute_port=port, mute_after=burst)
        await chip.set(mute=0)
        await chip.place()
        assert await chip.play(2, number == 0) == Fault("weights_timeout", segment)
        await chip.driver.reset_bus()
        await chip.check_exact(2, number == 0)
    await chip.set(mute=1, mute_port=chip.rows_port, mute_after=0)
    await chip.set(mute=0)
    assert await chip.play(3, False) == Fault("embedding_timeout", 0)
    await chip.driver.reset_bus()
    await chip.check_exact(3, False)
    await chip.check_exact(1, False)


@external_test
async def a_reset_of_the_bus_withholds_the_token(chip: ExternalChip) -> None:
    """At any time of it; the same request is then exact."""
    await chip.idle(SETTLE_CYCLES)
    for trial in range(20):
        await chip.driver.send(Request(token=1, begin=trial == 0))
        wait = chip.rng.randrange(20, 400)
        await chip.idle(wait)
        await chip.driver.reset_bus()
        found = await chip.driver.wait()
        await chip.driver.take()
        assert isinstance(found, Fault), f"{wait} cycles: {found}"
        assert found.memory in ("weights_timeout", "embedding_timeout")
        await chip.check_exact(1, trial == 0)


@external_test
async def a_reset_of_the_chip_in_the_middle_of_bursts(chip: ExternalChip) -> None:
    """Beats that were under way are nobody's: the image is placed again, and the token is exact."""
    chip.dut.result__ready.value = 0
    for _ in range(40):
        await chip.driver.send(Request(token=1, begin=True))
        await chip.idle(chip.rng.randrange(500))
        chip.dut.rst.value = 1
        await chip.idle(chip.rng.randrange(1, 4))
        chip.dut.rst.value = 0
        chip.streams.open = 0
        await chip.idle(chip.rng.randrange(1, 40))
        await chip.place()
        await chip.check_exact(4, True)


@external_test
async def nothing_is_read_before_the_chip_knows_where(chip: ExternalChip) -> None:
    """A request waits for it, and a token in progress takes no other image."""
    chip.dut.rst.value = 1
    await chip.idle(2)
    chip.dut.rst.value = 0
    await chip.idle(SETTLE_CYCLES)
    before = await chip.driver.port_counters()
    await chip.idle(SETTLE_CYCLES)
    after = await chip.driver.port_counters()
    assert [port.bursts for port in after] == [port.bursts for port in before]
    await chip.place()
    await chip.driver.send(Request(token=1, begin=True))
    with pytest.raises(LoadRefusedError, match="no other image: a token is being played"):
        await chip.place()
    # A host that does not ask is not heard.
    for index in range(chip.design.num_groups + 2):
        chip.dut.memory__index.value = index
        chip.dut.memory__value.value = 0
        chip.dut.memory__enable.value = 1
        await FallingEdge(chip.dut.clk)
    chip.dut.memory__enable.value = 0
    _, row, _ = chip.model.play(1, True)
    assert await chip.driver.wait() == Result(row, True)
    await chip.driver.take()
    await chip.check_exact(2, False)
