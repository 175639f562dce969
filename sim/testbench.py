"""The cocotb side of a co-simulation: driver, monitor, model and scoreboard.

Runs inside the simulator, in the run's folder: reads what is asked for and the tape, and writes what ``sim/run_folder.py`` names. ``sim/cosim.py`` prepares the folder and starts it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from numpy.typing import NDArray

from hdl.counters import COUNTER_BITS, COUNTERS, CYCLE_COUNTERS
from mmfree.design import Design
from mmfree.golden import Golden
from mmfree.layout import gate_words
from mmfree.tape import Tape, read_tape
from sim.divergence import Divergence, TapMonitor, first_divergence
from sim.profile import Profiler
from sim.run_folder import TAPE_NAME, Result, Run, note_position, read_run, write_result

CLOCK_NS = 10
FOLDER = Path()
"""The run's folder: the simulator's working folder."""


class Driver:
    """Sends tokens and reads the chip's state, logits and counters; drives at falling edges, so that every rising edge sees steady inputs."""

    def __init__(self, dut: Any, design: Design, run: Run) -> None:
        self._dut, self._design, self._run = dut, design, run
        self._random = random.Random(run.seed)
        self._id_bits = (max(2, design.embedding_rows) - 1).bit_length()

    async def reset(self) -> None:
        """Start the clock, hold reset for two cycles, and take every result at once."""
        dut = self._dut
        for name in ("token__valid", "token__payload", "pause", "state_enable", "state_address"):
            getattr(dut, name).value = 0
        dut.state_write.value = 0
        dut.logits_address.value = 0
        dut.result__ready.value = 1
        dut.rst.value = 1
        Clock(dut.clk, CLOCK_NS, unit="ns").start()
        for _ in range(2):
            await FallingEdge(dut.clk)
        dut.rst.value = 0

    async def play(self, token: int, begin: bool) -> int:
        """Play one token; returns the head's row. Leaves the chip idle, at a falling edge."""
        dut, run = self._dut, self._run
        await FallingEdge(dut.clk)
        while self._random.random() < run.idle:
            await FallingEdge(dut.clk)
        dut.token__payload.value = token | int(begin) << self._id_bits
        dut.token__valid.value = 1
        dut.result__ready.value = int(run.back_pressure == 0)
        await FallingEdge(dut.clk)
        dut.token__valid.value = 0
        if run.pause:
            while not int(dut.result__valid.value):
                dut.pause.value = int(self._random.random() < run.pause)
                await FallingEdge(dut.clk)
            dut.pause.value = 0
        elif not int(dut.result__valid.value):
            await RisingEdge(dut.result__valid)
            await FallingEdge(dut.clk)
        row = int(dut.result__payload.value)
        while self._random.random() < run.back_pressure:
            await FallingEdge(dut.clk)
            assert int(dut.result__valid.value)
            assert int(dut.result__payload.value) == row
        dut.result__ready.value = 1
        await FallingEdge(dut.clk)
        return row

    async def read_words(self, address: Any, output: Any, count: int) -> NDArray[np.int16]:
        """``count`` words of P values through a read port, as int16 [count * P]."""
        width = self._design.post_width
        data = bytearray()
        for word in range(count):
            address.value = word
            await FallingEdge(self._dut.clk)
            data += int(output.value).to_bytes(2 * width, "little")
        return np.frombuffer(bytes(data), dtype="<i2")

    async def write_state(self, words: NDArray[np.int16]) -> None:
        """Overwrite the current bank: int16 [count, P]."""
        dut = self._dut
        for address, word in enumerate(words):
            dut.state_address.value = address
            dut.state_write.value = int.from_bytes(word.astype("<i2").tobytes(), "little")
            dut.state_enable.value = 1
            await FallingEdge(dut.clk)
        dut.state_enable.value = 0

    def counters(self) -> dict[str, int]:
        """The counters of the last token."""
        value = int(self._dut.counters.value)
        mask = (1 << COUNTER_BITS) - 1
        return {name: value >> (COUNTER_BITS * i) & mask for i, name in enumerate(COUNTERS)}


class Model:
    """The golden model, in step with the chip."""

    def __init__(self, tape: Tape) -> None:
        self.golden = Golden(tape)
        self.state = self.golden.state(1)

    def play(self, token: int, begin: bool) -> tuple[NDArray[np.int16], int, dict[str, int]]:
        """Logits, row and saturations of one token."""
        if begin:
            self.state = self.golden.state(1)
        self.golden.reset_counters()
        logits, self.state = self.golden.step(np.array([token]), self.state)
        return logits[0], int(self.golden.next_token(logits)[0]), dict(self.golden.saturations)


class Testbench:
    """Plays a run on chip and model, and compares every logit, state word, chosen row and saturation count."""

    def __init__(self, dut: Any, run: Run, tape: Tape) -> None:
        self.dut, self.run, self.tape = dut, run, tape
        self.design = Design.from_dict(run.design)
        self.driver = Driver(dut, self.design, run)
        self.model = Model(tape)
        self.result = Result()
        self.profiler: Profiler | None = None
        self.logits: list[NDArray[np.int16]] = []
        self.states: list[NDArray[np.int16]] = []
        config = tape.config
        blocks = -(-config.hidden_size // self.design.rows)
        self._layer_channels = blocks * self.design.rows
        self._logit_words = -(-config.head_size // self.design.post_width)

    async def play_all(self) -> None:
        """Play every sequence; stops at the first difference."""
        started = time.perf_counter()
        await self.driver.reset()
        if self.run.profile:
            names = ["embedding", *(segment.name for segment in self.tape.segments)]
            self.profiler = Profiler(self.dut, names, self.driver.counters)
            self.result.profile = self.profiler.cycles
            cocotb.start_soon(self.profiler.watch())
        for sequence in self.run.sequences:
            rows: list[int] = []
            self.result.rows.append(rows)
            if sequence["state"] is not None:
                await self._start(np.array(sequence["state"], dtype=np.int16))
            for token, begin in self._tokens(sequence, rows):
                before = self.model.state
                rows.append(await self._play(token, begin))
                note_position(FOLDER)
                if self.result.differences:
                    self.result.divergence = await self._locate(token, begin, before)
                    break
            if self.result.differences:
                break
            self.states.append(await self._state())
        self.result.seconds = time.perf_counter() - started
        now = cocotb.utils.get_sim_time(unit="ns")
        self.result.simulated_cycles = int(now / CLOCK_NS)

    def _tokens(self, sequence: dict[str, Any], rows: list[int]) -> Iterator[tuple[int, bool]]:
        begin = sequence["state"] is None
        for token in sequence["prompt"]:
            yield token, begin
            begin = False
        for _ in range(sequence["generate"] - 1):
            yield rows[-1], False

    async def _play(self, token: int, begin: bool) -> int:
        row = await self.driver.play(token, begin)
        counters = self.driver.counters()
        if self.profiler is not None:
            self.profiler.close(counters)
        state, logits = await self._state(), await self._logits()
        expected_logits, expected_row, saturations = self.model.play(token, begin)
        result = self.result
        self.logits.append(logits)
        result.positions += 1
        result.compared += logits.size + state.size
        result.differences += int((logits != expected_logits).sum())
        result.differences += int((state != self.model.state[:, 0]).sum())
        result.differences += int(row != expected_row)
        result.differences += sum(
            counters[f"saturated_{site}"] != count for site, count in saturations.items()
        )
        assert counters["cycles"] == sum(counters[name] for name in CYCLE_COUNTERS[1:])
        result.cycles.append(counters["cycles"])
        for name, count in counters.items():
            result.counters[name] += count
        return row

    async def _state(self) -> NDArray[np.int16]:
        """State of the chip, int16 [L, d]."""
        dut, config = self.dut, self.tape.config
        words = gate_words(self.tape, self.design)
        flat = await self.driver.read_words(dut.state_address, dut.state_data, words)
        return flat.reshape(config.num_layers, self._layer_channels)[:, : config.hidden_size]

    async def _logits(self) -> NDArray[np.int16]:
        dut = self.dut
        flat = await self.driver.read_words(dut.logits_address, dut.logits_data, self._logit_words)
        return flat[: self.tape.config.head_size]

    async def _start(self, state: NDArray[np.int16]) -> None:
        """Give chip and model a state, int16 [L, d]."""
        layers, d = state.shape
        padded = np.zeros((layers, self._layer_channels), dtype=np.int16)
        padded[:, :d] = state
        await self.driver.write_state(padded.reshape(-1, self.design.post_width))
        self.model.state = state[:, None].copy()

    async def _locate(self, token: int, begin: bool, before: NDArray[np.int16]) -> dict[str, Any]:
        """Play the token again from the model's state before it, watching every vector write."""
        await self._start(before[:, 0])
        monitor = TapMonitor(self.dut, self.design)
        watching = cocotb.start_soon(monitor.watch())
        await self.driver.play(token, begin)
        watching.cancel()
        start = self.model.golden.state(1) if begin else before
        trace: dict[str, NDArray[Any]] = {}
        self.model.golden.step(
            np.array([token]), start, trace=lambda name, values: trace.update({name: values[0]})
        )
        found = first_divergence(monitor.writes, trace, self.tape, self.design)
        place = asdict(found) if found is not None else asdict(Divergence.outside_vectors())
        return {
            "sequence": len(self.result.rows) - 1,
            "position": len(self.result.rows[-1]) - 1,
            "token": token,
            "begin": begin,
            "state": before[:, 0].tolist(),
            **place,
        }


@cocotb.test()
async def play(dut: Any) -> None:
    """Play what the run's folder asks for and report there; fails if chip and model differ anywhere."""
    run = read_run(FOLDER)
    testbench = Testbench(dut, run, read_tape(FOLDER / TAPE_NAME))
    await testbench.play_all()
    result = testbench.result
    write_result(FOLDER, result, testbench.logits, testbench.states or [np.zeros(0, np.int16)])
    assert result.differences == 0, result.divergence
