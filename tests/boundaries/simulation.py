"""Boundaries of the co-simulation and of the power estimate."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from hdl.planning.cost import clock_hz
from hdl.toolchain.families import Area
from mmfree.chip.external_memory import ExternalMemory
from mmfree.chip.folder import DESCRIPTION_NAME, TAPE_NAME, VERILOG_NAME, sources
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import plan_memory_image
from mmfree.chip.sizing import design_for_memory
from sim.cosim.chip_folder import read_chip_folder
from sim.cosim.driver import Driver
from sim.cosim.due import check_sequences
from sim.cosim.run_folder import Run, Sequence
from sim.memory.model import Behaviour
from sim.page.limits import design_of
from sim.power.activity import SCHEMA, read_activity
from sim.power.basis import clock_of
from sim.power.coefficients import TECHNOLOGY, Quantity, load_part, load_parts
from sim.power.estimate import Load, estimate
from tests.support.boundaries import Boundary
from tests.support.random_tapes import random_tape
from tests.support.sim.shapes import ODD
from tests.support.verbs.case import TEXT_TAPE

Action = Callable[[Path], object]
TAPE, DESIGN = ODD.tape(1, wild=False), ODD.design()


def _sequence(field: str, value: Any) -> Action:
    """Check a sequence with a value in a field."""
    values: dict[str, Any] = {"prompt": [1], field: value}
    return lambda _: check_sequences([Sequence(**values)], [TAPE, TAPE])


def _feeds_back(generate: int, head_size: int) -> Action:
    """Check a text of a model of 7 tokens."""
    config = replace(ODD.config, head_size=head_size)
    tape = random_tape(np.random.default_rng(0), **config.to_dict())
    return lambda _: check_sequences([Sequence(prompt=[1], generate=generate)], [tape])


def _state(words: int) -> Action:
    """Write so many words of the state to a chip without pins: what it lacks is not the guard's."""

    def write(_: Path) -> None:
        driver = Driver(object(), Run(design=DESIGN, sequences=[]))
        with suppress(AttributeError):
            driver.write_state(np.zeros((words, DESIGN.post_width), dtype=np.int32)).send(None)

    return write


def _place(base: int) -> Action:
    """Place an image of three pages in a chip without pins."""
    design = design_for_memory(ODD.config, ExternalMemory(port_bits=64, ports=1))
    image = plan_memory_image(TAPE, design, Path("memory.bin"))

    def place(_: Path) -> None:
        driver = Driver(object(), Run(design=design, sequences=[]))
        with suppress(AttributeError):
            driver.place_image(image, base).send(None)

    return place


def _behaviour(**values: Any) -> Action:
    return lambda _: Behaviour(**values)


def _folder(word: str) -> Action:
    """Read a chip's folder whose last word of biases is another one."""

    def read(folder: Path) -> None:
        texts = layout(TAPE, DESIGN).memory_files()
        *words, _ = texts["biases"].split()
        texts["biases"] = "\n".join([*words, word]) + "\n"
        (folder / VERILOG_NAME).write_text("module mmfree; endmodule\n")
        (folder / TAPE_NAME).write_bytes(TAPE.data)
        for name in sources(DESIGN, TAPE):
            if name != VERILOG_NAME:
                (folder / name).write_text(texts[name.removesuffix(".hex")])
        description = {
            "design": DESIGN.to_dict(),
            "tape_sha256": TAPE.sha256,
            "files": dict.fromkeys(texts, ""),
        }
        (folder / DESCRIPTION_NAME).write_text(json.dumps(description))
        read_chip_folder(folder)

    return read


def _activity(counts: dict[str, int], tokens: int = 1) -> Action:
    """Read an activity of two registers and three bits that are read, in 10 cycles."""

    def read(folder: Path) -> None:
        block = {"registers": 2, "read_bits": 3} | counts
        values = {"tape_sha256": "", "design": {}, "text": "", "tokens": tokens, "cycles": 10}
        path = folder / "activity.json"
        path.write_text(json.dumps(values | {"schema": SCHEMA, "blocks": {"array": block}}))
        read_activity(path)

    return read


def _clock(part: str, hz: float) -> Action:
    return lambda _: clock_of(load_part(part), DESIGN, hz, None)


def _quantity(low: float, value: float, high: float) -> Action:
    return lambda _: Quantity(value, low, high, "pJ", "D", "a test")


def _capacity(dsp: int) -> Action:
    """Read the ECP5's file with another number of DSP blocks."""

    def read(folder: Path) -> None:
        text = (TECHNOLOGY / "ecp5.toml").read_text(encoding="utf-8")
        (folder / "ecp5.toml").write_text(text.replace("dsp = 28", f"dsp = {dsp}"))
        load_parts(folder / "ecp5.toml")

    return read


def _estimate(area: Area, hz: float = 1e6) -> Action:
    load = Load(areas={"array": area}, activity={}, activity_cycles=1, cycles=1)
    part = load_part("ecp5-25")
    return lambda _: estimate(part, load, hz, clock_label="", segments=[])


REACHED_HZ = clock_hz(DESIGN.lanes)
DUE, ACTIVITY, BASIS = "sim/cosim/due.py", "sim/power/activity.py", "sim/power/basis.py"
PAGE_LIMITS = "sim/page/limits.py"
COEFFICIENTS, ESTIMATE = "sim/power/coefficients.py", "sim/power/estimate.py"
BASE = "0 <= self.base < 1 << ADDRESS_BITS"
LATENCY = "LATENCY_MIN <= low <= high <= LATENCY_MAX"
WITHHELD = "0 <= percent <= WITHHELD_MAX"
IMAGE_BYTES = 3 * 4096
"""Of ODD in an external memory."""

TEMPERATURE = "0 <= sequence.temperature <= TEMPERATURE_MAX"
QUANTITY = "0 <= self.low <= self.value <= self.high"


def _page_of_at_most(weights: int) -> Action:
    def attempt(_: Path) -> object:
        with mock.patch("sim.page.limits.MOST_WEIGHTS", weights):
            return design_of(TEXT_TAPE)

    return attempt


ROWS = [
    *(
        Boundary(
            file=DUE,
            compares=compares,
            allowed=_sequence(field, allowed),
            refused=_sequence(field, refused),
            says=says,
        )
        for compares, field, allowed, refused, says in (
            ("0 <= sequence.model < len(tapes)", "model", 0, -1, "no model -1: 2 were"),
            ("0 <= sequence.model < len(tapes)", "model", 1, 2, "no model 2: 2 were given"),
            (TEMPERATURE, "temperature", 0, -1, "temperature must lie in .*, got -1"),
            (TEMPERATURE, "temperature", 255, 256, "temperature must lie in .*, got 256"),
            ("0 <= sequence.generate < 1 << LIMIT_BITS", "generate", 0, -1, "generate .* got -1"),
            ("0 <= sequence.stop < head_size", "stop", 0, -1, "stop token -1 is not in"),
            ("0 <= sequence.stop < head_size", "stop", 4, 5, "stop token 5 is not in"),
            ("0 <= token < vocab_size", "prompt", [0], [-1], "token -1 is not in"),
            ("0 <= token < vocab_size", "prompt", [6], [7], "token 7 is not in"),
        )
    ),
    Boundary(
        file=DUE,
        compares="0 <= sequence.generate < 1 << LIMIT_BITS",
        allowed=_feeds_back(65_535, 7),
        refused=_feeds_back(65_536, 7),
        says=r"generate must lie in 0\.\.65535, got 65536",
    ),
    Boundary(
        file=DUE,
        compares="sequence.generate > 1",
        allowed=_feeds_back(1, 8),
        refused=_feeds_back(2, 8),
        says="the head's rows are not tokens",
    ),
    Boundary(
        file=DUE,
        compares="head_size > vocab_size",
        allowed=_feeds_back(2, 7),
        refused=_feeds_back(2, 8),
        says="the head's rows are not tokens",
    ),
    Boundary(
        file="sim/cosim/driver.py",
        compares="len(words) > self._words('state')",
        allowed=_state(DESIGN.state_words),
        refused=_state(DESIGN.state_words + 1),
        says=r"at most 20 words of 1 values, got \(21, 1\)",
    ),
    Boundary(
        file="sim/cosim/driver.py",
        compares="base < 0",
        allowed=_place(0),
        refused=_place(-4096),
        says="bytes must be at a multiple of 4096 in a memory of",
    ),
    Boundary(
        file="sim/cosim/driver.py",
        compares="base + image.file_bytes > 1 << ADDRESS_BITS",
        allowed=_place((1 << 40) - IMAGE_BYTES),
        refused=_place((1 << 40) - IMAGE_BYTES + 4096),
        says=r"bytes must be at a multiple of 4096 in a memory of 2\^40 bytes",
    ),
    *(
        Boundary(
            file="sim/memory/model.py",
            compares=compares,
            allowed=_behaviour(**{field: allowed}),
            refused=_behaviour(**{field: refused}),
            says=says,
        )
        for compares, field, allowed, refused, says in (
            (BASE, "base", 0, -4096, r"multiple of 4096 below 2\^40, got -0x1000"),
            (BASE, "base", (1 << 40) - 4096, 1 << 40, r"below 2\^40, got 0x10000000000"),
            (LATENCY, "latency", (2, 2), (1, 2), r"cycles in 2\.\.10000, got 1:2"),
            (LATENCY, "latency", (3, 3), (4, 3), "got 4:3"),
            (LATENCY, "latency", (2, 10_000), (2, 10_001), "got 2:10001"),
            (WITHHELD, "withheld", 0, -0.5, r"--withheld must lie in 0\.\.90 percent .*-0\.5"),
            (WITHHELD, "address_withheld", 90, 90.5, r"address_withheld must lie .*got 90\.5"),
        )
    ),
    # Biases are 16 bits and a parity bit.
    Boundary(
        file="sim/cosim/chip_folder.py",
        compares="word.bit_length() > bits",
        allowed=_folder("1ffff"),
        refused=_folder("20000"),
        says="word 19 has 18 bits, and the memory 17",
    ),
    Boundary(
        file="sim/cosim/chip_folder.py",
        compares="set(word) <= set('0123456789abcdefABCDEF')",
        allowed=_folder("fF"),
        refused=_folder("g"),
        says="'g' is not a hexadecimal word",
    ),
    Boundary(
        file=ACTIVITY,
        compares="value < least",
        allowed=_activity({"reads": 0}),
        refused=_activity({}, tokens=0),
        says="tokens: counts must be integers, and positive, got 0",
    ),
    Boundary(
        file=ACTIVITY,
        compares="block.register_toggles > block.registers * activity.cycles",
        allowed=_activity({"register_toggles": 20}),
        refused=_activity({"register_toggles": 21}),
        says="array: nothing changes, or is read, more than once",
    ),
    Boundary(
        file=ACTIVITY,
        compares="max(block.reads, block.read_toggles) > block.read_bits * activity.cycles",
        allowed=_activity({"reads": 30, "read_toggles": 30}),
        refused=_activity({"reads": 31}),
        says="array: nothing changes, or is read, more than once",
    ),
    Boundary(
        file=BASIS,
        compares="asked_hz > limit_hz",
        allowed=_clock("ecp5-85", REACHED_HZ),
        refused=_clock("ecp5-85", REACHED_HZ + 1),
        says="is above what was reached",
    ),
    Boundary(
        file=BASIS,
        compares="hz > FASTEST_HZ",
        allowed=_clock("zu5ev", 1e9),
        refused=_clock("zu5ev", 1e9 + 1),
        says="no FPGA's clock network goes beyond 1,000 MHz",
    ),
    *(
        Boundary(
            file=COEFFICIENTS,
            compares=QUANTITY,
            allowed=_quantity(*allowed),
            refused=_quantity(*refused),
            says=f"must be 0 <= low <= value <= high, got {', '.join(map(str, refused))}",
        )
        for allowed, refused in (
            ((0, 2, 3), (-1, 2, 3)),
            ((2, 2, 3), (3, 2, 3)),
            ((1, 3, 3), (1, 4, 3)),
        )
    ),
    Boundary(
        file=COEFFICIENTS,
        compares="capacity[cell] < 0",
        allowed=_capacity(0),
        refused=_capacity(-1),
        says=r"parts\.ecp5-25\.capacity: dsp must be a number of cells",
    ),
    Boundary(
        file=ESTIMATE,
        compares="clock_hz > 0",
        allowed=_estimate(Area(), 1e-3),
        refused=_estimate(Area(), 0.0),
        says=r"the clock must be positive, got 0\.0 MHz",
    ),
    Boundary(
        file=ESTIMATE,
        compares="count > part.capacity[name]",
        allowed=_estimate(Area(luts=24_000, lut_rams=288)),
        refused=_estimate(Area(luts=24_000, lut_rams=289)),
        says="the design needs 24,289 LUTs, and the part has 24,288",
    ),
    Boundary(
        file=PAGE_LIMITS,
        compares="weights > MOST_WEIGHTS",
        allowed=_page_of_at_most(TEXT_TAPE.config.num_ternary_weights),
        refused=_page_of_at_most(TEXT_TAPE.config.num_ternary_weights - 1),
        says=f"of {TEXT_TAPE.config.num_ternary_weights:,} weights; a page has at most",
    ),
    Boundary(
        file=PAGE_LIMITS,
        compares="lanes > MOST_LANES",
        allowed=lambda _: design_of(TEXT_TAPE, 1024),
        refused=lambda _: design_of(TEXT_TAPE, 2048),
        says="the chip of a page has at most 1,024, not 2,048",
    ),
]
