"""The cocotb side of a co-simulation: scoreboard, and the test that plays a run.

Runs inside the simulator, in the run's folder: reads what is asked for, the tapes and what must
come out, and writes what ``sim/cosim/run_folder.py`` names. ``sim/cosim/run.py`` prepares the
folder, starts it, and judges what came out.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import cocotb
import numpy as np
from numpy.typing import NDArray

from hdl.payloads import CYCLE_COUNTERS
from mmfree.chip.layout import gate_words, layout
from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.golden.pow2 import Golden
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
    read_due,
    read_run,
    read_tapes,
    write_result,
)
from sim.cosim.verdict import Difference, Played, first_difference, join
from sim.simulators.icarus import WAVEFORM_NAME

FOLDER = Path()
"""The run's folder: the simulator's working folder."""


class Testbench:
    """Plays a run on the chip, records what comes out, and stops at the first difference.

    ``due``: what must come out of each sequence; ``played``: what came out.
    """

    def __init__(self, dut: Any, run: Run, tapes: list[Tape], due: list[Played]) -> None:
        self.dut, self.run, self.tapes, self.design = dut, run, tapes, run.design
        self.due = due
        self.driver = Driver(dut, run)
        self.result = Result()
        self.profiler: Profiler | None = None
        self.played: list[Played] = []
        self._loaded = None if run.loaded else 0
        self._use(0)

    def _use(self, model: int) -> None:
        """The chip plays this tape from now on."""
        self.tape = self.tapes[model]
        config = self.tape.config
        blocks = -(-config.hidden_size // self.design.rows)
        self._layer_channels = blocks * self.design.rows
        self._logit_words = -(-config.head_size // self.design.post_width)

    async def play_all(self) -> None:
        """Play every sequence; stops at the first difference, or when the waveform is long."""
        started = time.perf_counter()
        await self.driver.reset()
        for sequence, due in zip(self.run.sequences, self.due, strict=True):
            if sequence.model != self._loaded:
                await self.driver.load_image(layout(self.tapes[sequence.model], self.design))
                self._loaded = sequence.model
                self._use(sequence.model)
            if self.run.profile and self.profiler is None:
                names = ["embedding", *(segment.name for segment in self.tape.segments)]
                self.profiler = Profiler(self.dut, names, self.driver.counters_now)
                self.result.profile = self.profiler.cycles
                cocotb.start_soon(self.profiler.watch())
            parts = [Played.nothing(self.tape.config)]
            ended = await self._play_sequence(sequence, due, parts)
            self.played.append(join(parts))
            if not ended:
                break
        self.result.seconds = time.perf_counter() - started
        now = cocotb.utils.get_sim_time(unit="ns")
        self.result.simulated_cycles = int(now / CLOCK_NS)

    async def _play_sequence(self, sequence: Sequence, due: Played, parts: list[Played]) -> bool:
        """Play the prompt token by token, the last one with the request to generate.

        Collects what comes out in ``parts``; returns whether it was played to its end.
        """
        config = self.tape.config
        start = Golden(self.tape).state(1)[:, 0] if sequence.state is None else sequence.state
        if sequence.state is not None:
            await self._start(sequence.state)
        if sequence.temperature:
            await self.driver.seed(sequence.seed)
        final = len(sequence.prompt) - 1
        tokens = [*sequence.prompt, *due.rows[final:-1].tolist()]
        for position in range(due.positions):
            request = Request(
                token=tokens[position], begin=position == 0 and sequence.state is None
            )
            if position < final:
                await self.driver.send(request)
            elif position == final:
                await self.driver.send(
                    Request(
                        token=request.token,
                        begin=request.begin,
                        temperature=sequence.temperature,
                        limit=max(1, sequence.generate),
                        stop=sequence.stop,
                    )
                )
            before = due.states[position - 1] if position else start
            place = Place(
                sequence=len(self.played),
                position=position,
                token=request.token,
                begin=request.begin,
                state=before.tolist(),
            )
            if not await self._compare(due.part(position), place, parts):
                return False
            if self._recorded_enough():
                return False
        parts.append(Played.end(config, await self._state()))
        expected = Played.end(config, due.final[0])
        if difference := first_difference(expected, parts[-1]):
            self._note(place, Divergence.outside_vectors(difference))
        return difference is None

    async def _compare(self, due: Played, place: Place, parts: list[Played]) -> bool:
        """Whether the token in progress gives what is due; what it gives is added to ``parts``."""
        answer = await self._answer(place)
        note_position(FOLDER)
        if isinstance(answer, Fault):
            names = ["embedding", *(segment.name for segment in self.tape.segments)]
            self.result.divergence = place | {
                "segment": names[answer.segment],
                "fault": answer.memory,
            }
            await self.driver.take()
            return False
        counters = await self.driver.counters()
        if self.profiler is not None:
            self.profiler.close(counters)
        state, logits = await self._state(), await self._logits()
        await self.driver.take()
        parts.append(
            Played.position(
                row=answer.row,
                last=answer.last,
                logits=logits,
                state=state,
                saturations={site: counters[f"saturated_{site}"] for site in SATURATION_SITES},
            )
        )
        # Every cycle has one cause; a counter that breaks this is a bug of the chip as well.
        causes = sum(counters[name] for name in CYCLE_COUNTERS[1:])
        assert counters["cycles"] == causes, (
            f"{_words(place)}: {counters['cycles']} cycles, but {causes} of all causes"
        )
        self.result.cycles += counters["cycles"]
        for name, count in counters.items():
            self.result.counters[name] += count
        if difference := first_difference(due, parts[-1]):
            await self._locate(place, difference)
        return difference is None

    async def _answer(self, place: Place) -> Any:
        """The next answer; a chip that gives none fails, and the message says where."""
        try:
            return await self.driver.wait()
        except AssertionError as error:
            raise AssertionError(f"{_words(place)}: {error}") from None

    async def _state(self) -> NDArray[np.int16]:
        """State of the chip, int16 [L, d]."""
        config = self.tape.config
        flat = await self.driver.read_state(gate_words(self.tape, self.design))
        return flat.reshape(config.num_layers, self._layer_channels)[:, : config.hidden_size]

    async def _logits(self) -> NDArray[np.int16]:
        flat = await self.driver.read_logits(self._logit_words)
        return flat[: self.tape.config.head_size]

    async def _start(self, state: NDArray[np.int16]) -> None:
        """Give the chip a state, int16 [L, d]."""
        layers, d = state.shape
        padded = np.zeros((layers, self._layer_channels), dtype=np.int16)
        padded[:, :d] = state
        await self.driver.write_state(padded.reshape(-1, self.design.post_width))

    def _recorded_enough(self) -> bool:
        """Whether the run is recorded, and its waveform as long as was asked for."""
        limit = self.run.waveform_bytes
        return bool(limit) and (FOLDER / WAVEFORM_NAME).stat().st_size >= limit

    async def _locate(self, place: Place, difference: Difference) -> None:
        """Note the first vector write that differs when the token is played again."""
        try:
            found = await self._play_again(place)
        except AssertionError:
            # A chip that hangs now has differed before.
            found = None
        self._note(place, found or Divergence.outside_vectors(difference))

    async def _play_again(self, place: Place) -> Divergence | None:
        """Play a token from the state before it, watching every vector write."""
        dut = self.dut
        before = np.array(place["state"], dtype=np.int16)
        # A request that generates text would go on, for a token more at most.
        await self.driver.cancel()
        for _ in range(2):
            if not int(dut.request__ready.value):
                await self.driver.wait()
                await self.driver.take()
        await self._start(before)
        monitor = TapMonitor(dut, self.design)
        watching = cocotb.start_soon(monitor.watch())
        await self.driver.play(Request(token=place["token"], begin=place["begin"]))
        watching.cancel()
        trace: dict[str, NDArray[Any]] = {}
        Golden(self.tape).step(
            np.array([place["token"]]),
            before[:, None],
            trace=lambda name, values: trace.update({name: values[0]}),
        )
        return first_divergence(monitor.writes, trace, self.tape, self.design)

    def _note(self, place: Place, found: Divergence) -> None:
        """The first difference of the run."""
        self.result.divergence = place | cast(Place, asdict(found))


def _words(place: Place) -> str:
    """Where a token is, for messages."""
    return f"sequence {place['sequence']}, position {place['position']}"


@cocotb.test()
async def play(dut: Any) -> None:
    """Play what the run's folder asks for and report there; fails if chip and model differ."""
    run = read_run(FOLDER)
    testbench = Testbench(dut, run, read_tapes(FOLDER), read_due(FOLDER))
    await testbench.play_all()
    result = testbench.result
    write_result(FOLDER, result, testbench.played)
    assert result.divergence is None, result.divergence
