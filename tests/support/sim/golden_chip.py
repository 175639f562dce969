"""A chip that the golden model plays, in the place of the simulated one: for planting errors.

It stands where the driver stands, so a co-simulation runs through all of its own code, without a
simulator and in milliseconds.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sim.cosim.job
import sim.cosim.run
from mmfree.chip.design import Design
from mmfree.chip.exchange import COUNTERS
from mmfree.chip.image import Image
from mmfree.chip.layout import layout, state_places, state_words
from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.golden.opening import golden_of
from mmfree.golden.sampling import Sampler
from mmfree.host.interface import Fault, Request, Result
from mmfree.tape.reading import AnyTape
from sim.cosim import testbench
from sim.cosim.run_folder import Run, read_run, read_tapes
from sim.simulators.icarus import WAVEFORM_NAME
from sim.simulators.runner import SimulationFailed
from sim.tracing.writes import RECORDS_NAME, TAPS, Write, stored_bits

CYCLES = {
    "cycles": 100,
    "beats": 60,
    "wait_weights": 1,
    "wait_room": 2,
    "wait_drain": 30,
    "wait_vector": 4,
    "wait_control": 3,
}
"""Of every token."""

WRITTEN = {
    "gates": {"state": "h", "u": "u"},
    "output": {"x": "x"},
    "glu": {"u": "u"},
    "down": {"x": "x"},
    "head": {"logits": "logits"},
}
"""What each kind of segment writes, by port, and its name in the golden model's trace."""

Plant = Callable[["GoldenChip"], None]
"""Changes what a chip has computed, before anybody reads it; called for every token played."""


class GoldenChip:
    """A chip, its memories, and ``plant``: what is wrong with it.

    ``played``: tokens so far. ``state``, ``logits``: memories as the port shows them, words of P
    values. ``answer``, ``counted``, ``writes``: of the token in progress. ``sent``, ``loaded``,
    ``seeded``: what it was asked for. ``model``: what was built of it.
    """

    def __init__(self, run: Run, tapes: list[AnyTape], plant: Plant) -> None:
        self.run, self.design, self.tapes, self.plant = run, run.design, tapes, plant
        self._empty, self.tape = run.loaded, tapes[0]
        self.state = np.full(self.design.kept_words * self.design.post_width, 99, dtype=np.int32)
        self.logits = np.zeros(0, dtype=np.int32)
        self.sampler = Sampler(0)
        self.played, self.resets = -1, 0
        self.answer: Result | Fault | None = None
        self.counted: dict[str, int] = {}
        self.writes: list[Write] = []
        self.sent: list[Request] = []
        self.loaded: list[Image] = []
        self.seeded: list[int] = []
        self.model: dict[str, Any] = {}
        self._request: Request | None = None
        self._token, self._begin, self._chosen, self._cancelled = 0, False, 0, False

    @property
    def request__ready(self) -> SimpleNamespace:
        """The pin."""
        return SimpleNamespace(value=int(self._request is None))

    @property
    def channels(self) -> int:
        """Channels of a layer in the memory of the state: whole row blocks."""
        return -(-self.tape.config.hidden_size // self.design.rows) * self.design.rows

    async def reset(self) -> None:
        self.resets += 1

    async def send(self, request: Request) -> None:
        assert self._request is None, "a request is in progress"
        assert not self._empty, "the memories are empty"
        self.sent.append(request)
        self._request, self._chosen, self._cancelled = request, 0, False
        self._token, self._begin = request.token, request.begin

    async def wait(self) -> Result | Fault:
        assert self._request is not None, "the chip gave no answer"
        if self.answer is None:
            self._play(self._request)
        assert self.answer is not None, "the chip gave no answer"
        return self.answer

    def _play(self, request: Request) -> None:
        config, golden = self.tape.config, golden_of(self.tape)
        places = state_places(config, self.design)
        self.played += 1
        if self._begin:
            self.state[places] = 0
        trace: dict[str, NDArray[Any]] = {}
        logits, state = golden.step(
            np.array([self._token]),
            self.state[places][:, None],
            trace=lambda name, values: trace.update({name: values[0]}),
        )
        self.state[places] = state[:, 0]
        self.logits = np.concatenate([logits[0], np.full(self.design.post_width, 77, np.int32)])
        row = self.sampler.choose(logits[0], request.temperature, golden.fraction_bits)
        self._chosen += 1
        ended = self._cancelled or self._chosen == request.limit or row == request.stop
        self.answer = Result(row, ended)
        counted = {f"saturated_{s}": golden.saturations.get(s, 0) for s in SATURATION_SITES}
        self.counted = CYCLES | counted
        self.writes = list(self._written(trace))
        self.plant(self)
        if self.run.recorded:
            path, bits = testbench.FOLDER / RECORDS_NAME, stored_bits(self.design)
            write_records(path, self.writes, self.design.post_width, bits)

    def _written(self, trace: dict[str, NDArray[Any]]) -> Iterable[Write]:
        """What the taps show of a token, in order; the embedding's last word with padding."""
        embedding = trace["embedding"]
        padding = [5] * (-len(embedding) % self.design.columns)
        vectors: list[tuple[int, str, int, Any]] = [(0, "x", 0, [*embedding, *padding])]
        for number, segment in enumerate(self.tape.segments, start=1):
            for vector, name in WRITTEN[segment.kind].items():
                base = self.channels * (segment.layer or 0) if vector == "state" else 0
                vectors.append((number, vector, base, trace[f"{segment.name}/{name}"]))
        for number, vector, base, values in vectors:
            for index, value in enumerate(values):
                yield Write(
                    cycle=10 * number + index,
                    segment=number,
                    vector=vector,
                    index=base + index,
                    value=int(value),
                )

    async def take(self) -> None:
        assert self._request is not None
        assert self.answer is not None, "nothing waits to be taken"
        if isinstance(self.answer, Fault) or self.answer.last:
            self._request = None
        else:
            self._token, self._begin = self.answer.row, False
        self.answer = None

    async def play(self, request: Request) -> Result | Fault:
        await self.send(request)
        answer = await self.wait()
        await self.take()
        return answer

    async def cancel(self) -> None:
        self._cancelled = True

    async def seed(self, seed: int) -> None:
        self.seeded.append(seed)
        self.sampler = Sampler(seed)

    async def load_image(self, image: Image) -> None:
        self.loaded.append(image)
        self._empty = False
        (self.tape,) = (
            tape for tape in self.tapes if layout(tape, self.design).words == image.words
        )

    async def read_state(self, words: int) -> NDArray[np.int32]:
        assert words == state_words(self.tape.config, self.design)
        return self.state[: words * self.design.post_width].copy()

    async def write_state(self, words: NDArray[np.int32]) -> None:
        assert words.shape[1] == self.design.post_width
        self.state[: words.size] = words.reshape(-1)

    async def read_logits(self, words: int) -> NDArray[np.int32]:
        return self.logits[: words * self.design.post_width].copy()

    async def counters(self) -> dict[str, int]:
        assert set(self.counted) == set(COUNTERS)
        return dict(self.counted)

    def counters_now(self) -> dict[str, int]:
        return dict(self.counted)


def write_records(path: Path, writes: list[Write], width: int, bits: int) -> None:
    """The file of a recorder of groups of ``width`` values of ``bits`` bits; each write is a group
    by itself.
    """
    records = []
    for write in writes:
        group, lane = divmod(write.index, width)
        numbers = (write.cycle, TAPS.index(write.vector), write.segment, group)
        keep = (1 << lane).to_bytes(-(-width // 32) * 4, "little")
        size = bits // 8
        data = lane * size * b"\7" + write.value.to_bytes(size, "little", signed=True)
        whole = -(-width * size // 4) * 4
        records.append(struct.pack("<Qiii", *numbers) + keep + data.ljust(whole, b"\7"))
    path.write_bytes(b"".join(records))


class Monitor:
    """Stands for the monitor of the taps."""

    def __init__(self, chip: Any, design: Design) -> None:
        self._chip = chip

    async def watch(self) -> None:
        """Nothing: the chip itself keeps its writes."""

    @property
    def writes(self) -> list[Write]:
        """Of the last token."""
        writes: list[Write] = self._chip.writes
        return writes


def nothing_wrong(chip: GoldenChip) -> None:
    """The plant of a faithful chip."""


def install(monkeypatch: pytest.MonkeyPatch, plant: Plant = nothing_wrong) -> list[GoldenChip]:
    """Let such chips play all co-simulations; a list of them, which grows with every run."""
    chips: list[GoldenChip] = []

    def simulate(model: Any, module: str, folder: Path) -> None:
        assert module == "sim.cosim.testbench"
        asked = read_run(folder)
        chips.append(GoldenChip(asked, read_tapes(folder), plant))
        chips[-1].model = model
        if model["trace"] == "vcd":
            (folder / WAVEFORM_NAME).write_text("$date")
        monkeypatch.setattr(testbench, "FOLDER", folder)
        monkeypatch.setattr(testbench, "Driver", lambda dut, run: dut)
        try:
            asyncio.run(testbench.play.func(chips[-1]))
        except AssertionError as error:
            raise SimulationFailed(f"the simulation failed: {error}") from None

    def build(sources: list[Path], top: str, *, trace: str, simulator: str) -> dict[str, Any]:
        return {"sources": sources, "top": top, "trace": trace, "simulator": simulator}

    def write_chip(folder: Path, tapes: list[AnyTape], design: Design, **options: Any) -> None:
        sim.cosim.run_folder.write_tapes(folder, tapes)

    def start_soon(task: Any) -> SimpleNamespace:
        task.close()
        return SimpleNamespace(cancel=lambda: None)

    monkeypatch.setattr(sim.cosim.job, "run", simulate)
    monkeypatch.setattr(sim.cosim.job, "build", build)
    monkeypatch.setattr(sim.cosim.run, "write_chip", write_chip)
    monkeypatch.setattr(sim.cosim.job, "write_bench", lambda folder, design, **options: [])
    monkeypatch.setattr(testbench, "TapMonitor", Monitor)
    clock = SimpleNamespace(get_sim_time=lambda unit: {"ns": 12_340}[unit])
    monkeypatch.setattr(testbench, "cocotb", SimpleNamespace(start_soon=start_soon, utils=clock))
    return chips
