"""Whole chips for published checkpoints against the golden model, in Amaranth's simulator."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdl.absmax.parts import AbsmaxParts
from hdl.accelerator import Accelerator
from hdl.link.host_ports import accesses
from hdl.memory.parameters import gain_words
from hdl.planning.cycles import segment_cycles
from mmfree.chip.exchange import CYCLE_COUNTERS
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_of_array
from mmfree.contract.shape import AbsmaxConfig
from mmfree.golden.sampling import Sampler, seed_registers
from mmfree.host.interface import Fault, Request, Result
from sim.cosim.due import Model
from tests.support.hdl.bench import simulate
from tests.support.hdl.chip import ChipHost
from tests.support.integers.absmax_tapes import random_absmax_tape

PLAYED = ((True, 0), (False, 255), (True, 255))
"""Of each token: whether the state is cleared, and the temperature in 64ths."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A model, an array with its post-processing width, and a tape, which may be wild."""

    vocabulary: int
    d: int
    intermediate: int
    layers: int
    array: tuple[int, int, int]
    code: str = "2"
    wild: bool = False

    @property
    def config(self) -> AbsmaxConfig:
        return AbsmaxConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.d,
            intermediate_size=self.intermediate,
            num_layers=self.layers,
        )


QUICK = {
    "two layers": Chip(vocabulary=5, d=6, intermediate=9, layers=2, array=(4, 4, 1)),
    "wild, groups of padding": Chip(
        vocabulary=3, d=9, intermediate=5, layers=1, array=(6, 4, 2), code="1.6", wild=True
    ),
}
SLOW = {
    "three groups, padded": Chip(
        vocabulary=3, d=9, intermediate=5, layers=1, array=(12, 8, 4), code="1.6", wild=True
    ),
    "P of 4": Chip(vocabulary=7, d=20, intermediate=37, layers=1, array=(8, 4, 4), code="1.67"),
    "I above d": Chip(
        vocabulary=9, d=5, intermediate=13, layers=2, array=(6, 2, 1), code="1.6", wild=True
    ),
    "one channel": Chip(vocabulary=4, d=1, intermediate=1, layers=1, array=(1, 2, 1)),
    "waits for room": Chip(
        vocabulary=11, d=17, intermediate=12, layers=1, array=(3, 8, 1), code="1.67", wild=True
    ),
    "P of 8": Chip(vocabulary=4, d=33, intermediate=20, layers=1, array=(24, 8, 8), wild=True),
    "rows no power of two": Chip(vocabulary=6, d=12, intermediate=31, layers=2, array=(7, 4, 1)),
    "P of 2": Chip(vocabulary=6, d=10, intermediate=24, layers=1, array=(6, 8, 2), wild=True),
}
CHIPS = [
    *(pytest.param(chip, id=name) for name, chip in QUICK.items()),
    *(pytest.param(chip, id=name, marks=pytest.mark.slow) for name, chip in SLOW.items()),
]


@pytest.mark.parametrize("chip", CHIPS)
def test_a_published_chip_is_bit_exact(chip: Chip, tmp_path: Path) -> None:
    """Rows, logits, state and counters of three tokens: the state kept and cleared, two drawn."""
    config, seed = chip.config, chip.d
    tape = random_absmax_tape(tmp_path, config, seed, wild=chip.wild)
    design = design_of_array(config, *chip.array, chip.code)
    accelerator, model = Accelerator(design, layout(tape, design)), Model(tape)
    model.sampler = Sampler(seed)
    channels = -(-config.hidden_size // design.rows) * design.rows
    cycles = {
        name: sum(getattr(segment, name, 0) for segment in segment_cycles(config, design))
        for name in CYCLE_COUNTERS
    }
    found: dict[str, int] = {}

    async def bench(ctx: Any) -> None:
        host = ChipHost(ctx, accelerator)
        await host.seed(seed_registers(seed))
        for token, (begin, temperature) in enumerate(PLAYED):
            logits, row, saturations = model.play(token % config.vocab_size, begin, temperature)
            request = Request(token=token % config.vocab_size, begin=begin, temperature=temperature)
            assert await host.play(request) == Result(row, True)
            read = await host.logits(-(-config.head_size // design.post_width))
            assert read[: config.head_size] == logits.tolist()
            words = await host.state(config.num_layers * channels // design.post_width)
            state = np.reshape(words, (config.num_layers, channels))
            assert (state[:, : config.hidden_size] == model.state[:, 0]).all()
            found.update(await host.counters())
            assert found == {
                **cycles,
                **{f"saturated_{site}": count for site, count in saturations.items()},
            }

    simulate(accelerator, bench, watched=False)
    assert (found["wait_room"] > 0) == (chip == SLOW["waits for room"])


def test_what_changes_on_the_chip_is_a_fault_and_the_pass_can_be_repeated(tmp_path: Path) -> None:
    """Gains and bounds that wait, and a tile, from a source that is as slow as it likes.

    Words of all memories: tests/sim/cosim/test_chip.py.
    """
    config = AbsmaxConfig(vocab_size=4, hidden_size=4, intermediate_size=3, num_layers=1)
    tape = random_absmax_tape(tmp_path, config, 8)
    design = design_of_array(config, 4, 4, 2)
    image, model, rng = layout(tape, design), Model(tape), random.Random(2)
    chip = Accelerator(design, image)
    assert isinstance(chip.parts, AbsmaxParts)
    parameters = chip.parts.parameters
    gains, bounds = (
        buffer.memories[0].contents
        for buffer in (parameters.gains_buffer, parameters.bounds_buffer)
    )
    gates_bank = gain_words(design)
    flips: list[tuple[Any, int]] = []

    async def corrupt(ctx: Any) -> None:
        """Once the gates are played, a bit of what they read."""
        while True:
            await ctx.tick()
            if flips and ctx.get(chip.segment) == 1 and ctx.get(chip.playing):
                contents, word = flips.pop()
                ctx.set(contents[word], ctx.get(contents[word]) ^ 1 << rng.randrange(25))

    async def withhold(ctx: Any) -> None:
        while True:
            ctx.set(chip.pause, rng.random() < 0.3)
            await ctx.tick()

    async def bench(ctx: Any) -> None:
        host = ChipHost(ctx, chip)
        logits, row, _ = model.play(2, True)
        request, words = Request(token=2, begin=True), config.hidden_size // design.post_width
        flips.append((gains, gates_bank))
        assert await host.play(request) == Fault("parameters", 1)
        flips.append((bounds, 0))
        assert await host.play(request) == Fault("parameters", 1)
        assert await host.play(request) == Result(row, True)
        state = await host.state(words)
        assert state == model.state[0, 0].tolist()
        assert (await host.logits(-(-4 // design.post_width)))[:4] == logits.tolist()
        word = len(image.words["weights"]) - 2
        value = image.words["weights"][word]
        await host.load(image, "weights", word, value ^ 1 << rng.randrange(16))
        assert await host.play(request) == Fault("weights", 5)
        assert await host.state(words) == state

    simulate(chip, bench, background=[corrupt, withhold], watched=False)


def test_logits_need_not_be_stored(tmp_path: Path) -> None:
    """Then a chip has no memory for them, and no ports; what it chooses is the same."""
    config = AbsmaxConfig(vocab_size=3, hidden_size=2, intermediate_size=2, num_layers=1)
    tape = random_absmax_tape(tmp_path, config, 4)
    design = replace(design_of_array(config, 2, 2, 1), stores_logits=False)
    chip, model = Accelerator(design, layout(tape, design)), Model(tape)
    assert "logits" not in chip.signature.members
    assert "logits" not in chip.host.signature.members
    assert "logits" not in chip.memories
    assert not [port for port in accesses(design) if port.startswith("logits.")]
    written: list[int] = []

    async def listen(ctx: Any) -> None:
        while True:
            await ctx.tick()
            if ctx.get(chip.tap_logits.enable):
                written.append(ctx.get(chip.tap_logits.data[0]))

    async def bench(ctx: Any) -> None:
        logits, row, _ = model.play(1, True)
        assert await ChipHost(ctx, chip).play(Request(token=1, begin=True)) == Result(row, True)
        assert written[: config.vocab_size] == logits.tolist()

    simulate(chip, bench, background=[listen], watched=False)
