"""Co-simulation of a tape: the accelerator in a Verilog simulator against the golden model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.fabric.technology import Technology
from mmfree.chip.design import Design
from mmfree.chip.external_memory import BLOCK
from mmfree.chip.folder import IMAGE_NAME, VERILOG_NAME
from mmfree.chip.sizing import stream_words
from mmfree.errors import InputError
from mmfree.files.atomic import open_atomically
from mmfree.tape.reading import AnyTape
from sim.cosim.chip import write_chip
from sim.cosim.chip_folder import ChipFolder
from sim.cosim.due import check_sequences, expect
from sim.cosim.job import Job, simulate_shares
from sim.cosim.run_folder import (
    Place,
    Result,
    Run,
    Sequence,
    Traffic,
)
from sim.cosim.verdict import Played, Verdict, judge
from sim.memory.model import Behaviour, PortCounters, check_simulator, memory_name
from sim.simulators.icarus import WAVEFORM_NAME
from sim.simulators.runner import SimulationFailed, SimulatorError
from sim.tracing.waveform import check_waveform

__all__ = ["CosimResult", "Recording", "Sequence", "Traffic", "cosim", "cosim_folder"]

READ_VALUES = 16_384
"""Most logits and state words of a position that are read through the ports."""

WAVEFORM_BYTES = 1 << 30
"""A recording ends after the token at which its VCD has so many."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A waveform (VCD) that was kept: where, its size, and in words what it shows."""

    path: Path
    num_bytes: int
    shows: str


@dataclass(frozen=True, kw_only=True)
class CosimResult:
    """Outcome of a co-simulation.

    Attributes
    ----------
    verdict
        How much had to be compared, computed from what was asked; how much was; what differed.
    rows
        For each sequence, the head's row that the chip chose at each position.
    logits
        The chip's logits of every position, int32 [rows] each; fraction bits as of its arithmetic.
    states
        The chip's state after every sequence that ended, int32 [L, w] each.
    cycles_per_token
        From a token's acceptance until its result is valid; mean over the positions (simulated).
    counters
        The chip's counters, summed over the positions.
    simulated_hz
        Clock cycles simulated per second of wall time.
    divergence
        The first value that differs: segment, vector, index and both values; or the segment and the
        memory ("fault") whose check failed, if the chip withheld a token. None if nothing did.
    recording
        The waveform, if asked for.
    profile
        If asked for: segment -> cause -> cycles, summed over the positions.
    memory
        Where the chip has its weights: "block", or an external memory.
    bandwidth_utilization
        Of an external memory: words of the passes / (cycles x share of the cycles in which it was
        not throttled, mean over the ports of weights), 0..1 but for what a ring held before.
    altered
        Of a folder: its files that are not as ``mmfree verilog`` wrote them.
    tape_sha256, text
        Of ``mmfree.cosim``: identity of the tape, and what the chip wrote after a prompt, if there
        was one and it was played to its end.
    """

    verdict: Verdict
    rows: list[list[int]]
    logits: list[NDArray[np.int32]]
    states: list[NDArray[np.int32]]
    cycles_per_token: float
    weights_per_token: int
    lanes: int
    lane_utilization: float
    counters: dict[str, int]
    simulated_hz: float
    divergence: Place | None = None
    recording: Recording | None = None
    profile: dict[str, dict[str, int]] | None = None
    memory: str = BLOCK
    bandwidth_utilization: float | None = None
    altered: tuple[str, ...] = ()
    tape_sha256: str = ""
    text: str | None = None

    @property
    def bit_exact(self) -> bool:
        """Whether all that was due was compared, and every value was equal."""
        return self.verdict.bit_exact and self.divergence is None

    @property
    def tokens(self) -> int:
        """Positions played, prompts included."""
        return self.verdict.compared["rows"]

    @property
    def compared(self) -> int:
        """Logits and state words compared after the positions."""
        return self.verdict.compared["logits"] + self.verdict.compared["states"]

    @property
    def due(self) -> int:
        """Logits and state words that had to be compared."""
        return self.verdict.due["logits"] + self.verdict.due["states"]


def cosim(
    tapes: Items[AnyTape],
    design: Design,
    sequences: Items[Sequence],
    *,
    loaded: bool = False,
    seed: int = 0,
    traffic: Traffic | None = None,
    profile: bool = False,
    waveform: Path | None = None,
    simulator: str = "verilator",
    technology: Technology = Technology.GENERIC,
    array: ArrayOf = TernaryArray,
    behaviour: Behaviour | None = None,
    processes: int | None = None,
) -> CosimResult:
    """Play sequences on chip and golden model and compare them bit for bit.

    Parameters
    ----------
    tapes, design
        One model or several, and an accelerator that all of them fit. The first is in the chip's
        memories from the start, and others are loaded when a sequence asks for them.
    sequences
        At least one. Each starts from a fresh state, or from its own.
    loaded
        The chip's memories are empty at first: the first model, too, comes through the load port.
    seed
        Of the random traffic.
    traffic
        Disturbance of the interfaces; none by default.
    profile
        Attribute cycles to segments and causes.
    waveform
        Where to keep a VCD: of the run, until WAVEFORM_BYTES; or of the first token that differs,
        played alone.
    simulator
        "verilator", or "icarus" (some fifty times slower).
    technology
        GENERIC, or ECP5: the chip in the cells that are placed by hand for that part
        (sim/simulators/ecp5_cells.v models them), its memories filled by their own initial values.
    array
        Makes the chip's array: another one than the ternary is for experiments.
    behaviour
        Of the external memory, if the design has one; Behaviour() by default.
    processes
        Simulators among which the positions are shared; by default as many as there are cores, if
        the run is long.

    Raises
    ------
    LayoutError
        If a tape does not fit the design.
    InputError
        If there is no sequence, one is empty, or a token id is not in the vocabulary; or if the
        simulator has no model of an external memory.
    ToolMissing
        If the simulator or a compiler is not installed.
    SimulationFailed
        If the chip hangs.
    """
    check_sequences(sequences, tapes)
    check_waveform(waveform)
    check_simulator(design, simulator)
    asked = Run(
        design=design,
        sequences=list(sequences),
        seed=seed,
        traffic=traffic or Traffic(),
        profile=profile,
        loaded=loaded,
        memory=behaviour or Behaviour(),
        recorded=_worth_recording(design, tapes, simulator),
    )
    with tempfile.TemporaryDirectory(prefix="mmfree-cosim-") as name:
        folder = Path(name)
        write_chip(folder, tapes, design, loaded=loaded, technology=technology, array=array)
        job = Job(folder, asked, expect(sequences, tapes), simulator, processes)
        return _play(job, tapes, waveform)


def _worth_recording(design: Design, tapes: Items[AnyTape], simulator: str) -> bool:
    """Whether logits and state are recorded as they are written, not read through the ports."""
    values = max(tape.config.head_size + tape.config.num_state_words for tape in tapes)
    large = design.external is not None or not design.stores_logits or values > READ_VALUES
    return large and simulator == "verilator"


def cosim_folder(
    chip: ChipFolder,
    sequences: Items[Sequence],
    *,
    seed: int = 0,
    profile: bool = False,
    waveform: Path | None = None,
    simulator: str = "verilator",
    behaviour: Behaviour | None = None,
) -> CosimResult:
    """As ``cosim``, of the Verilog and the memory files in a folder, altered or not.

    Raises
    ------
    InputError
        Also if Verilog that was altered cannot be simulated.
    """
    tapes = [chip.tape]
    check_sequences(sequences, tapes)
    check_waveform(waveform)
    check_simulator(chip.design, simulator)
    asked = Run(
        design=chip.design,
        sequences=list(sequences),
        seed=seed,
        profile=profile,
        memory=behaviour or Behaviour(),
        recorded=_worth_recording(chip.design, tapes, simulator),
    )
    with tempfile.TemporaryDirectory(prefix="mmfree-cosim-") as name:
        folder = Path(name)
        chip.copy_to(folder)
        if chip.design.external is not None:
            (folder / IMAGE_NAME).rename(folder / memory_name(0))
        try:
            result = _play(Job(folder, asked, expect(sequences, tapes), simulator), tapes, waveform)
        except SimulatorError as error:
            if VERILOG_NAME not in chip.altered:
                raise
            raise InputError(
                f"{chip.path / VERILOG_NAME}: altered, and cannot be simulated: {error}"
            ) from None
    return replace(result, altered=chip.altered)


def _play(job: Job, tapes: Items[AnyTape], waveform: Path | None) -> CosimResult:
    """Simulate, judge what came out by what is due, and record if asked to."""
    shares = job.cut() if waveform is None else []
    try:
        if len(shares) > 1:
            job, result, played = simulate_shares(job, shares)
        else:
            result, played = job.simulate()
    except SimulationFailed as error:
        if waveform is None:
            raise
        recording = _record_run(job, waveform)
        raise SimulationFailed(f"{error}; {recording.path} shows {recording.shows}") from None
    outcome = _outcome(job, tapes, result, played)
    if waveform is None:
        return outcome
    place = result.divergence
    recording = (
        _record_run(job, waveform) if place is None else _record(job, place, tapes, waveform)
    )
    return replace(outcome, recording=recording)


def _record_run(job: Job, waveform: Path) -> Recording:
    """Play the run again and keep its waveform, until it has WAVEFORM_BYTES."""
    asked = replace(job.run, profile=False, waveform_bytes=WAVEFORM_BYTES)
    try:
        _, played = replace(job, run=asked).simulate("vcd")
    except SimulationFailed:
        return _keep(job, waveform, "the run until it failed")
    verdict = judge(job.due, played)
    due, tokens = verdict.due["rows"], verdict.compared["rows"]
    shows = f"all {due:,} tokens" if tokens == due else f"the first {tokens:,} of {due:,} tokens"
    if any(verdict.differing.values()):
        raise SimulatorError("the chip differs while it is recorded, and did not before")
    return _keep(job, waveform, shows)


def _record(job: Job, place: Place, tapes: Items[AnyTape], waveform: Path) -> Recording:
    """Play the token that differs again, alone, from the state before it; keep the waveform."""
    sequence = Sequence(
        prompt=[place["token"]],
        state=None if place["begin"] else np.array(place["state"], dtype=np.int32),
        model=job.run.sequences[place["sequence"]].model,
    )
    asked = replace(job.run, sequences=[sequence], profile=False)
    alone = replace(job, run=asked, due=expect([sequence], tapes))
    result, _ = alone.simulate("vcd")
    shows = f"sequence {place['sequence']}, position {place['position']}, played alone"
    if result.divergence is None:
        shows += ", which then does not differ"
    return _keep(job, waveform, shows)


def _keep(job: Job, waveform: Path, shows: str) -> Recording:
    with (job.folder / WAVEFORM_NAME).open("rb") as recorded, open_atomically(waveform) as file:
        shutil.copyfileobj(recorded, file)
    return Recording(path=waveform, num_bytes=waveform.stat().st_size, shows=shows)


def _outcome(job: Job, tapes: Items[AnyTape], result: Result, played: list[Played]) -> CosimResult:
    tokens = sum(sequence.positions for sequence in played)
    weights = sum(
        tapes[asked.model].num_ternary_weights * sequence.positions
        for asked, sequence in zip(job.run.sequences, played, strict=False)
    )
    divergence = result.divergence
    if divergence is not None:
        # The state is for playing the token again; nobody reads thousands of numbers.
        divergence = divergence.copy()
        divergence.pop("state", None)
    lanes = job.run.design.lanes
    return CosimResult(
        verdict=judge(job.due, played),
        rows=[sequence.rows.tolist() for sequence in played],
        logits=[logits for sequence in played for logits in sequence.logits],
        states=[state for sequence in played for state in sequence.final],
        cycles_per_token=result.cycles / max(1, tokens),
        weights_per_token=weights // max(1, tokens),
        lanes=lanes,
        lane_utilization=weights / (lanes * result.cycles) if result.cycles else 0.0,
        counters=result.counters,
        simulated_hz=result.simulated_cycles / result.seconds,
        divergence=divergence,
        profile=result.profile,
        memory=job.run.design.memory,
        bandwidth_utilization=_bandwidth_utilization(job.run, tapes, result, played),
    )


def _bandwidth_utilization(
    asked: Run, tapes: Items[AnyTape], result: Result, played: list[Played]
) -> float | None:
    """Words that were streamed, of those that an external memory could give."""
    if result.ports is None or not result.cycles:
        return None
    words = sum(
        stream_words(tapes[sequence.model].config, asked.design) * came.positions
        for sequence, came in zip(asked.sequences, played, strict=False)
    )
    weights = [PortCounters(**port).open_share for port in result.ports[:-1]]
    return words / (result.cycles * sum(weights) / len(weights))
