"""The cocotb side of a co-simulation: model and scoreboard, and the test that plays a run.

Runs inside the simulator, in the run's folder: reads what is asked for and the tape, and writes
what ``sim/cosim/run_folder.py`` names. ``sim/cosim/run.py`` prepares the folder and starts it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from hdl.interface import CYCLE_COUNTERS
from mmfree.chip.layout import gate_words, layout
from mmfree.golden.pow2 import Golden
from mmfree.golden.sampling import Sampler
from mmfree.host.interface import Fault, Request
from mmfree.tape.pow2 import Tape
from sim.cosim.divergence import Divergence, TapMonitor, first_divergence
from sim.cosim.driver import CLOCK_NS, Driver
from sim.cosim.profile import Profiler
from sim.cosim.run_folder import (
    Place,
    Result,
    Run,
    Sequence,
    note_position,
    read_run,
    read_tapes,
    write_result,
)

FOLDER = Path()
"""The run's folder: the simulator's working folder."""


class Model:
    """The golden model, in step with the chip."""

    def __init__(self, tape: Tape) -> None:
        self.golden = Golden(tape)
        self.fraction_bits = tape.formats.residual_fb
        self.state = self.golden.state(1)
        self.sampler = Sampler(0)

    def play(
        self, token: int, begin: bool, temperature: int = 0
    ) -> tuple[NDArray[np.int16], int, dict[str, int]]:
        """Logits, row and saturations of one token."""
        if begin:
            self.state = self.golden.state(1)
        self.golden.reset_counters()
        logits, self.state = self.golden.step(np.array([token]), self.state)
        row = self.sampler.choose(logits[0], temperature, self.fraction_bits)
        return logits[0], row, dict(self.golden.saturations)


class Testbench:
    """Plays a run on chip and model, and compares what both have after every token.

    Compared are every logit, state word, chosen row and saturation count.
    """

    def __init__(self, dut: Any, run: Run, tapes: list[Tape]) -> None:
        self.dut, self.run, self.tapes, self.design = dut, run, tapes, run.design
        self.driver = Driver(dut, run)
        self.result = Result()
        self.profiler: Profiler | None = None
        self.logits: list[NDArray[np.int16]] = []
        self.states: list[NDArray[np.int16]] = []
        self._loaded = None if run.loaded else 0
        self._use(0)

    def _use(self, model: int) -> None:
        """The chip plays this tape from now on."""
        self.tape = self.tapes[model]
        self.model = Model(self.tape)
        config = self.tape.config
        blocks = -(-config.hidden_size // self.design.rows)
        self._layer_channels = blocks * self.design.rows
        self._logit_words = -(-config.head_size // self.design.post_width)

    async def play_all(self) -> None:
        """Play every sequence; stops at the first difference."""
        started = time.perf_counter()
        await self.driver.reset()
        for sequence in self.run.sequences:
            if sequence.model != self._loaded:
                await self.driver.load_image(layout(self.tapes[sequence.model], self.design))
                self._loaded = sequence.model
                self._use(sequence.model)
            if self.run.profile and self.profiler is None:
                names = ["embedding", *(segment.name for segment in self.tape.segments)]
                self.profiler = Profiler(self.dut, names, self.driver.counters_now)
                self.result.profile = self.profiler.cycles
                cocotb.start_soon(self.profiler.watch())
            await self._play_sequence(sequence)
            if self.result.differences:
                break
            self.states.append(await self._state())
        self.result.seconds = time.perf_counter() - started
        now = cocotb.utils.get_sim_time(unit="ns")
        self.result.simulated_cycles = int(now / CLOCK_NS)

    async def _play_sequence(self, sequence: Sequence) -> None:
        """Play the prompt token by token, the last one with the request to generate."""
        self.result.rows.append([])
        if sequence.state is not None:
            await self._start(sequence.state)
        if sequence.temperature:
            await self.driver.seed(sequence.seed)
        self.model.sampler = Sampler(sequence.seed)
        begin, stop, temperature = sequence.state is None, sequence.stop, sequence.temperature
        *first, final = sequence.prompt
        for token in first:
            await self.driver.send(Request(token=token, begin=begin))
            await self._compare(token, begin, 0, last=True)
            begin = False
            if self.result.differences:
                return
        limit = max(1, sequence.generate)
        await self.driver.send(
            Request(token=final, begin=begin, temperature=temperature, limit=limit, stop=stop)
        )
        token = final
        for left in reversed(range(limit)):
            token = await self._compare(token, begin, temperature, last=left == 0, stop=stop)
            begin = False
            if self.result.differences or token == stop:
                return

    async def _compare(
        self, token: int, begin: bool, temperature: int, *, last: bool, stop: int | None = None
    ) -> int:
        """Compare the token in progress with the model's; the chip's row, or -1 for a fault."""
        before = self.model.state
        answer = await self.driver.wait()
        note_position(FOLDER)
        if isinstance(answer, Fault):
            self.result.differences += 1
            self.result.divergence = self._withheld(answer)
            await self.driver.take()
            return -1
        row = answer.row
        counters = await self.driver.counters()
        if self.profiler is not None:
            self.profiler.close(counters)
        state, logits = await self._state(), await self._logits()
        await self.driver.take()
        expected_logits, expected_row, saturations = self.model.play(token, begin, temperature)
        result = self.result
        result.rows[-1].append(row)
        self.logits.append(logits)
        result.positions += 1
        result.compared += logits.size + state.size
        result.expected += expected_logits.size + self.model.state.size
        result.differences += int((logits != expected_logits).sum())
        result.differences += int((state != self.model.state[:, 0]).sum())
        result.differences += int(row != expected_row)
        result.differences += int(answer.last != (last or row == stop))
        result.differences += sum(
            counters[f"saturated_{site}"] != count for site, count in saturations.items()
        )
        # Every cycle has one cause; a counter that breaks this is a bug of the chip as well.
        assert counters["cycles"] == sum(counters[name] for name in CYCLE_COUNTERS[1:])
        result.cycles.append(counters["cycles"])
        result.weights += self.tape.num_ternary_weights
        for name, count in counters.items():
            result.counters[name] += count
        if result.differences:
            result.divergence = await self._locate(token, begin, before)
        return row

    async def _state(self) -> NDArray[np.int16]:
        """State of the chip, int16 [L, d]."""
        config = self.tape.config
        flat = await self.driver.read_state(gate_words(self.tape, self.design))
        return flat.reshape(config.num_layers, self._layer_channels)[:, : config.hidden_size]

    async def _logits(self) -> NDArray[np.int16]:
        flat = await self.driver.read_logits(self._logit_words)
        return flat[: self.tape.config.head_size]

    async def _start(self, state: NDArray[np.int16]) -> None:
        """Give chip and model a state, int16 [L, d]."""
        layers, d = state.shape
        padded = np.zeros((layers, self._layer_channels), dtype=np.int16)
        padded[:, :d] = state
        await self.driver.write_state(padded.reshape(-1, self.design.post_width))
        self.model.state = state[:, None].copy()

    def _withheld(self, fault: Fault) -> Place:
        """A token that the chip withheld, as a divergence."""
        names = ["embedding", *(segment.name for segment in self.tape.segments)]
        rows = self.result.rows
        return Place(
            sequence=len(rows) - 1,
            # It has no row: as many rows as there were positions before it.
            position=len(rows[-1]),
            segment=names[fault.segment],
            fault=fault.memory,
        )

    async def _locate(self, token: int, begin: bool, before: NDArray[np.int16]) -> Place:
        """Play the token again from the model's state before it, watching every vector write."""
        dut = self.dut
        # A request that generates text would go on.
        await self.driver.cancel()
        while not int(dut.request__ready.value):
            await self.driver.wait()
            await self.driver.take()
        await self._start(before[:, 0])
        monitor = TapMonitor(dut, self.design)
        watching = cocotb.start_soon(monitor.watch())
        await self.driver.play(Request(token=token, begin=begin))
        watching.cancel()
        start = self.model.golden.state(1) if begin else before
        trace: dict[str, NDArray[Any]] = {}
        self.model.golden.step(
            np.array([token]), start, trace=lambda name, values: trace.update({name: values[0]})
        )
        found = (
            first_divergence(monitor.writes, trace, self.tape, self.design)
            or Divergence.outside_vectors()
        )
        return Place(
            sequence=len(self.result.rows) - 1,
            position=len(self.result.rows[-1]) - 1,
            token=token,
            begin=begin,
            state=before[:, 0].tolist(),
            segment=found.segment,
            vector=found.vector,
            index=found.index,
            expected=found.expected,
            got=found.got,
            cycle=found.cycle,
        )


@cocotb.test()
async def play(dut: Any) -> None:
    """Play what the run's folder asks for and report there; fails if chip and model differ."""
    run = read_run(FOLDER)
    testbench = Testbench(dut, run, read_tapes(FOLDER))
    await testbench.play_all()
    result = testbench.result
    write_result(FOLDER, result, testbench.logits, testbench.states)
    assert result.differences == 0, result.divergence
