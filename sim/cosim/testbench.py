"""The cocotb side of a co-simulation: scoreboard, and the test that plays a run.

Runs inside the simulator, in the run's folder: reads what is asked for, the tapes and what must
come out, and writes what ``sim/cosim/run_folder.py`` names. ``sim/cosim/run.py`` prepares the
folder, starts it, and judges what came out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import cocotb
import numpy as np
from numpy.typing import NDArray

from hdl.memory.sources.axi import RING_WORDS
from mmfree.chip.exchange import CYCLE_COUNTERS
from mmfree.chip.layout import layout, state_places, state_words
from mmfree.chip.records import array_shapes
from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.contract.shape import segment_name
from mmfree.golden.opening import golden_of
from mmfree.golden.rounding import PlaysTokens
from mmfree.host.interface import Fault, Request
from sim.cosim.driver import CLOCK_NS, Driver
from sim.cosim.run_folder import (
    Models,
    Place,
    Result,
    Run,
    Sequence,
    note_position,
    read_due,
    read_run,
    write_result,
)
from sim.cosim.verdict import Difference, Played, first_difference, join
from sim.memory.model import place_files
from sim.simulators.icarus import WAVEFORM_NAME
from sim.tracing.divergence import Divergence, TapMonitor, first_divergence
from sim.tracing.profile import Profiler
from sim.tracing.writes import RECORDS_NAME, Write, Writes, read_writes, stored_bits

FOLDER = Path()
"""The run's folder: the simulator's working folder."""


@dataclass(frozen=True)
class _Token:
    """A token: where it is in the run, how it is played, and the state [L, w] before it."""

    sequence: int
    position: int
    token: int
    begin: bool
    before: NDArray[np.int32]

    def __str__(self) -> str:
        return f"sequence {self.sequence}, position {self.position}"

    def place(self) -> Place:
        """As a divergence begins."""
        return Place(
            sequence=self.sequence,
            position=self.position,
            token=self.token,
            begin=self.begin,
            state=self.before.tolist(),
        )


class Testbench:
    """Plays a run on the chip, records what comes out, and stops at the first difference.

    ``due``: what must come out of each sequence; ``played``: what came out.
    """

    def __init__(self, dut: Any, run: Run, models: Models, due: list[Played]) -> None:
        self.dut, self.run, self.models, self.design = dut, run, models, run.design
        self.due = due
        self.driver = Driver(dut, run)
        self.result = Result()
        self.profiler: Profiler | None = None
        self.played: list[Played] = []
        external = self.design.external is not None
        self._images = models.images(self.design) if external else []
        self._loaded = None if run.loaded else 0
        self._placed: int | None = None
        self._use(0)

    def _use(self, model: int) -> None:
        """The chip plays this tape from now on."""
        self._model, self._config = model, self.models.configs[model]
        config, width = self._config, self.design.post_width
        self._segments = [
            "embedding",
            *(segment_name(kind, layer) for kind, layer, _, _ in array_shapes(config)),
        ]
        self._places = state_places(config, self.design)
        self._state_words = state_words(config, self.design)
        self._logit_words = -(-config.head_size // width)

    async def play_all(self) -> None:
        """Play every sequence; stops at the first difference, or when the waveform is long."""
        started = time.perf_counter()
        await self.driver.reset()
        for sequence, due in zip(self.run.sequences, self.due, strict=True):
            await self._give(sequence.model)
            if self.run.profile and self.profiler is None:
                self.profiler = Profiler(self.dut, self._segments, self.driver.counters_now)
                self.result.profile = self.profiler.cycles
                cocotb.start_soon(self.profiler.watch())
            parts = [Played.nothing(self._config)]
            ended = await self._play_sequence(sequence, due, parts)
            self.played.append(join(parts))
            if not ended:
                break
        if self._images:
            self.result.ports = [asdict(port) for port in await self.driver.port_counters()]
        self.result.seconds = time.perf_counter() - started
        now = cocotb.utils.get_sim_time(unit="ns")
        self.result.simulated_cycles = int(now / CLOCK_NS)

    async def _give(self, model: int) -> None:
        """Give the chip a model, if it has another one."""
        if model != self._loaded:
            await self.driver.load_image(layout(self.models.tape(model), self.design))
            self._loaded = model
            self._use(model)
        if self._images and model != self._placed:
            bases = place_files(self.run.memory.base, [image.file_bytes for image in self._images])
            await self.driver.place_image(self._images[model], bases[model])
            self._placed = model
            # The first token finds its first words read, as every other does: it takes as long.
            behaviour = self.run.memory
            cycles = 2 * behaviour.latency[1] + 2 * RING_WORDS / (1 - behaviour.withheld / 100)
            await self.driver.idle(cycles * max(1, (behaviour.bus_ns or CLOCK_NS) / CLOCK_NS))

    async def _play_sequence(self, sequence: Sequence, due: Played, parts: list[Played]) -> bool:
        """Play the prompt token by token, the last one with the request to generate.

        Collects what comes out in ``parts``; returns whether it was played to its end.
        """
        if sequence.state is not None:
            await self._start(sequence.state)
        if sequence.temperature:
            await self.driver.seed(sequence.seed)
        for position, token in enumerate(self._tokens(sequence, due)):
            if position < len(sequence.prompt):
                await self.driver.send(_request(sequence, position))
            if not await self._compare(due.part(position), token, parts):
                return False
            if self._recorded_enough():
                return False
        parts.append(Played.end(self._config, await self._state()))
        difference = first_difference(Played.end(self._config, due.final[0]), parts[-1])
        if difference is not None:
            self._note(token, _read_out(difference))
        return difference is None

    def _tokens(self, sequence: Sequence, due: Played) -> Iterator[_Token]:
        """The tokens of a sequence, as the golden model plays it."""
        final = len(sequence.prompt) - 1
        state = sequence.state
        if state is None:
            config = self._config
            state = np.zeros((config.num_layers, config.state_width), dtype=np.int32)
        for position, token in enumerate([*sequence.prompt, *due.rows[final:-1].tolist()]):
            begin = position == 0 and sequence.state is None
            yield _Token(len(self.played), position, token, begin, state)
            state = due.states[position]

    async def _compare(self, due: Played, token: _Token, parts: list[Played]) -> bool:
        """Whether the token in progress gives what is due; what it gives is added to ``parts``."""
        try:
            answer = await self.driver.wait()
        except AssertionError as error:
            raise AssertionError(f"{token}: {error}") from None
        note_position(FOLDER)
        if isinstance(answer, Fault):
            known = answer.segment < len(self._segments)
            self.result.divergence = token.place() | {
                "segment": self._segments[answer.segment] if known else f"{answer.segment}",
                "fault": answer.memory,
            }
            await self.driver.take()
            return False
        counters = await self.driver.counters()
        if self.profiler is not None:
            self.profiler.close(counters)
        writes = self._recorded_writes()
        vectors = await self._vectors(writes)
        await self.driver.take()
        if vectors is None:
            # There are no whole vectors to compare.
            await self._locate(token, None, writes)
            return False
        state, logits = vectors
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
            f"{token}: {counters['cycles']} cycles, but {causes} of all causes"
        )
        self.result.cycles += counters["cycles"]
        for name, count in counters.items():
            self.result.counters[name] += count
        if difference := first_difference(due, parts[-1]):
            await self._locate(token, difference, writes)
        return difference is None

    def _recorded_writes(self) -> Writes | None:
        """The writes of the token in progress, if they are recorded."""
        if not self.run.recorded:
            return None
        design = self.design
        return read_writes(FOLDER / RECORDS_NAME, design.post_width, stored_bits(design))

    async def _vectors(
        self, writes: Writes | None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
        """State [L, w] and logits [rows] after the token in progress: read, or as recorded.

        None if what is recorded is not every element once.
        """
        config = self._config
        if writes is None:
            logits = await self.driver.read_logits(self._logit_words)
            return await self._state(), logits[: config.head_size]
        state = writes.vector("state", self._places.reshape(-1))
        recorded = writes.vector("logits", np.arange(config.head_size))
        if state is None or recorded is None:
            return None
        return state.reshape(self._places.shape).astype(np.int32), recorded.astype(np.int32)

    async def _state(self) -> NDArray[np.int32]:
        """State of the chip, int32 [L, w]."""
        words = await self.driver.read_state(self._state_words)
        return words[self._places]

    async def _start(self, state: NDArray[np.int32]) -> None:
        """Give the chip a state, int32 [L, w]."""
        words = np.zeros(self._state_words * self.design.post_width, dtype=np.int32)
        words[self._places] = state
        await self.driver.write_state(words.reshape(self._state_words, -1))

    def _recorded_enough(self) -> bool:
        """Whether the run is recorded, and its waveform as long as was asked for."""
        limit = self.run.waveform_bytes
        return bool(limit) and (FOLDER / WAVEFORM_NAME).stat().st_size >= limit

    async def _locate(
        self, token: _Token, difference: Difference | None, writes: Writes | None
    ) -> None:
        """Note the first vector write that differs: of the recorded ones, or as the token is played
        again.
        """
        try:
            each = writes.each() if writes is not None else await self._play_again(token)
        except AssertionError:
            # A chip that hangs now has differed before.
            each = None
        found = self._diverging(token, each) if each is not None else None
        if found is None:
            assert difference is not None, "vectors are not whole, and no write is missing"
            found = _read_out(difference)
        self._note(token, found)

    async def _play_again(self, token: _Token) -> list[Write]:
        """Play a token from the state before it, watching every vector write."""
        dut = self.dut
        # A request that generates text would go on, for a token more at most.
        await self.driver.cancel()
        for _ in range(2):
            if not int(dut.request__ready.value):
                await self.driver.wait()
                await self.driver.take()
        await self._start(token.before)
        monitor = TapMonitor(dut, self.design)
        watching = cocotb.start_soon(monitor.watch())
        await self.driver.play(Request(token=token.token, begin=token.begin))
        watching.cancel()
        return monitor.writes

    def _diverging(self, token: _Token, writes: list[Write]) -> Divergence | None:
        """The first of a token's writes that the golden model does not make."""
        tape = self.models.tape(self._model)
        trace: dict[str, NDArray[Any]] = {}
        golden = cast(PlaysTokens[Any], golden_of(tape))
        golden.step(
            np.array([token.token]),
            token.before[:, None],
            trace=lambda name, values: trace.update({name: values[0]}),
        )
        return first_divergence(writes, trace, tape, self.design)

    def _note(self, token: _Token, found: Divergence) -> None:
        """The first difference of the run."""
        self.result.divergence = token.place() | cast(Place, asdict(found))


def _read_out(difference: Difference) -> Divergence:
    """Every vector write agrees: what differs is read out only, such as a counter."""
    return Divergence(
        segment="none",
        vector=difference.name,
        index=difference.index,
        expected=difference.expected,
        got=difference.got,
        cycle=None,
    )


def _request(sequence: Sequence, position: int) -> Request:
    """A token of the prompt; with the last one the request to generate."""
    request = Request(
        token=sequence.prompt[position], begin=position == 0 and sequence.state is None
    )
    if position < len(sequence.prompt) - 1:
        return request
    return replace(
        request,
        temperature=sequence.temperature,
        limit=max(1, sequence.generate),
        stop=sequence.stop,
    )


@cocotb.test()
async def play(dut: Any) -> None:
    """Play what the run's folder asks for and report there; fails if chip and model differ."""
    run = read_run(FOLDER)
    testbench = Testbench(dut, run, Models(FOLDER), read_due(FOLDER))
    await testbench.play_all()
    result = testbench.result
    write_result(FOLDER, result, testbench.played)
    assert result.divergence is None, result.divergence
