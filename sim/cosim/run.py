"""Co-simulation of a tape: the accelerator in a Verilog simulator against the golden model."""

from __future__ import annotations

import tempfile
import threading
from collections import abc
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hdl.accelerator import Accelerator
from hdl.array.ternary_array import ArrayOf, TernaryArray
from hdl.fabric.ecp5_ram import DISTRIBUTED_DEPTH
from hdl.fabric.technology import Technology
from hdl.interface import LIMIT_BITS
from hdl.toolchain.emit import TOP, VERILOG_NAME, convert_rtlil, convert_verilog, write_memory_files
from mmfree.chip.design import Design
from mmfree.chip.layout import layout
from mmfree.chip.memory_map import LOADED_MEMORIES, chip_memories, loaded_shape, weight_memories
from mmfree.contract.pow2 import TEMPERATURE_MAX
from mmfree.errors import InputError
from mmfree.golden.sampling import seed_registers
from mmfree.tape.pow2 import Tape
from sim.cosim.run_folder import (
    Place,
    Result,
    Run,
    Sequence,
    Traffic,
    positions_played,
    read_result,
    read_values,
    write_run,
    write_tapes,
)
from sim.simulators.icarus import WAVEFORM_NAME
from sim.simulators.runner import SimulationFailed, build, run

__all__ = [
    "CELLS",
    "CosimResult",
    "Sequence",
    "Traffic",
    "check_sequences",
    "cosim",
    "write_chip",
]

CELLS = Path(__file__).parents[1] / "simulators" / "ecp5_cells.v"
"""Models of the cells of the ECP5 that are placed by hand."""


@dataclass(frozen=True, kw_only=True)
class CosimResult:
    """Outcome of a co-simulation.

    Attributes
    ----------
    bit_exact
        Every logit, state word, chosen row and saturation count of every position was equal.
    tokens
        Positions played, prompt included.
    compared
        Logits and state words compared; tokens * (head rows + state words) if bit_exact.
    rows
        For each sequence, the head's row that the chip chose at each position.
    logits
        The chip's logits of every position, int16 [rows] each, 9 fraction bits.
    states
        The chip's state after every sequence, int16 [L, d] each, if bit_exact.
    cycles_per_token
        From a token's acceptance until its result is valid; mean over the positions (simulated).
    counters
        The chip's counters, summed over the positions.
    simulated_hz
        Clock cycles simulated per second of wall time, the golden model's time included.
    divergence
        If not bit_exact: segment, vector and index of the first value that differs, and both
        values; or the segment and the memory ("fault") whose check failed, if the chip withheld a
        token.
    waveform
        VCD file around the divergence, if asked for.
    profile
        If asked for: segment -> cause -> cycles, summed over the positions.
    """

    bit_exact: bool
    tokens: int
    compared: int
    rows: list[list[int]]
    logits: list[NDArray[np.int16]]
    states: list[NDArray[np.int16]]
    cycles_per_token: float
    weights_per_token: int
    lanes: int
    lane_utilization: float
    counters: dict[str, int]
    simulated_hz: float
    divergence: Place | None = None
    waveform: Path | None = None
    profile: dict[str, dict[str, int]] | None = None


def cosim(
    tapes: abc.Sequence[Tape],
    design: Design,
    sequences: abc.Sequence[Sequence],
    *,
    loaded: bool = False,
    seed: int = 0,
    traffic: Traffic | None = None,
    profile: bool = False,
    waveform: Path | None = None,
    simulator: str = "verilator",
    technology: Technology = Technology.GENERIC,
    array: ArrayOf = TernaryArray,
) -> CosimResult:
    """Play sequences on chip and golden model and compare them bit for bit.

    Parameters
    ----------
    tapes, design
        One model or several, and an accelerator that all of them fit. The first is in the chip's
        memories from the start, and others are loaded when a sequence asks for them.
    sequences
        Each starts from a fresh state, or from its own.
    loaded
        The chip's memories are empty at first: the first model, too, comes through the load port.
    seed
        Of the random traffic.
    traffic
        Disturbance of the interfaces; none by default.
    profile
        Attribute cycles to segments and causes.
    waveform
        Where to write a VCD of the first token that differs, if one does.
    simulator
        "verilator", or "icarus" (some fifty times slower).
    technology
        GENERIC, or ECP5: the chip in the cells that are placed by hand for that part
        (sim/simulators/ecp5_cells.v models them), its memories filled by their own initial values.
    array
        Makes the chip's array: another one than the ternary is for experiments.

    Raises
    ------
    LayoutError
        If a tape does not fit the design.
    InputError
        If a sequence is empty or a token id is not in the vocabulary.
    ToolMissing
        If the simulator or a compiler is not installed.
    SimulationFailed
        If the chip hangs.
    """
    check_sequences(sequences, tapes)
    asked = Run(
        design=design,
        sequences=list(sequences),
        seed=seed,
        traffic=traffic or Traffic(),
        profile=profile,
        loaded=loaded,
    )
    with tempfile.TemporaryDirectory(prefix="mmfree-cosim-") as name:
        folder = Path(name)
        write_chip(folder, tapes, design, loaded=loaded, technology=technology, array=array)
        result = _simulate(folder, asked, simulator)
        logits, states = read_values(folder, result.positions)
        if (
            result.divergence is not None
            and "fault" not in result.divergence
            and waveform is not None
        ):
            _record(folder, asked, result.divergence, waveform, simulator)
    return _outcome(design, result, logits, states, waveform)


def check_sequences(sequences: abc.Sequence[Sequence], tapes: abc.Sequence[Tape]) -> None:
    """InputError for the first sequence that cannot be played."""
    for sequence in sequences:
        _check_sequence(sequence, tapes)


def _check_sequence(sequence: Sequence, tapes: abc.Sequence[Tape]) -> None:
    if not sequence.prompt:
        raise InputError("a prompt must hold at least one token, got none")
    if not 0 <= sequence.model < len(tapes):
        raise InputError(f"there is no model {sequence.model}: {len(tapes)} were given")
    tape = tapes[sequence.model]
    vocab_size, head_size = tape.config.vocab_size, tape.config.head_size
    if not 0 <= sequence.temperature <= TEMPERATURE_MAX:
        raise InputError(
            f"temperature must lie in 0..{TEMPERATURE_MAX} 64ths, got {sequence.temperature}"
        )
    seed_registers(sequence.seed)
    if not 0 <= sequence.generate < 1 << LIMIT_BITS:
        raise InputError(
            f"generate must lie in 0..{(1 << LIMIT_BITS) - 1}, got {sequence.generate}"
        )
    if sequence.stop is not None and not 0 <= sequence.stop < head_size:
        raise InputError(f"stop token {sequence.stop} is not in the vocabulary of {head_size}")
    if bad := [token for token in sequence.prompt if not 0 <= token < vocab_size]:
        raise InputError(f"token {bad[0]} is not in the vocabulary of {vocab_size}")
    if sequence.generate > 1 and tape.config.head_size > vocab_size:
        raise InputError("the head's rows are not tokens of this vocabulary: nothing to feed back")


def write_chip(
    folder: Path,
    tapes: abc.Sequence[Tape],
    design: Design,
    *,
    loaded: bool = False,
    technology: Technology = Technology.GENERIC,
    array: ArrayOf = TernaryArray,
) -> None:
    """Write what a simulation needs into its folder: Verilog, memory files and tapes.

    ``loaded``: the memories are empty.
    """
    # All of them, though only one is in the memories: a tape that does not fit is refused early.
    images = [layout(tape, design) for tape in tapes]
    image = images[0]
    if loaded:
        image = replace(
            image, words={name: [0] * len(words) for name, words in image.words.items()}
        )
    write_memory_files(image, design, folder)
    if technology is Technology.ECP5:
        # Memories deep enough for block RAM hold their words as parameters of its cells.
        files = [
            name
            for name in LOADED_MEMORIES[1:]
            if loaded_shape(design, name).depth <= DISTRIBUTED_DEPTH
        ]
        files += weight_memories(design) if design.weight_words <= DISTRIBUTED_DEPTH else ()
        verilog = convert_verilog(
            convert_rtlil(Accelerator(design, image, array=array), technology), files
        )
        verilog += CELLS.read_text()
    else:
        verilog = convert_verilog(
            convert_rtlil(Accelerator(design, array=array)), chip_memories(design)
        )
    (folder / VERILOG_NAME).write_text(verilog)
    write_tapes(folder, tapes)


def _simulate(folder: Path, asked: Run, simulator: str, trace: str = "") -> Result:
    """Build (or find built) the simulation, and run it in ``folder``."""
    write_run(folder, asked)
    model = build([folder / VERILOG_NAME], TOP, trace=trace, simulator=simulator)
    with _progress_bar(folder, sum(sequence.positions for sequence in asked.sequences)):
        try:
            run(model, "sim.cosim.testbench", folder)
        except SimulationFailed:
            # A difference fails the test, after it has reported what it found.
            if (result := read_result(folder)) is None:
                raise
            return result
    result = read_result(folder)
    assert result is not None
    return result


@contextmanager
def _progress_bar(folder: Path, positions: int) -> abc.Iterator[None]:
    """Show on stderr how many positions are played, while the simulator's process runs."""
    done = threading.Event()

    def follow() -> None:
        with tqdm(total=positions, unit="token", desc="co-simulation", disable=None) as bar:
            while not done.wait(0.2):
                bar.update(positions_played(folder) - bar.n)
            bar.update(positions_played(folder) - bar.n)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _record(folder: Path, asked: Run, divergence: Place, waveform: Path, simulator: str) -> None:
    """Play the differing token again, alone, from the state before it, and keep the waveform."""
    sequence = Sequence(
        prompt=[divergence["token"]],
        state=None if divergence["begin"] else np.array(divergence["state"], dtype=np.int16),
        model=asked.sequences[divergence["sequence"]].model,
    )
    _simulate(folder, replace(asked, sequences=[sequence], profile=False), simulator, trace="vcd")
    waveform.parent.mkdir(parents=True, exist_ok=True)
    waveform.write_bytes((folder / WAVEFORM_NAME).read_bytes())


def _outcome(
    design: Design,
    result: Result,
    logits: list[NDArray[np.int16]],
    states: list[NDArray[np.int16]],
    waveform: Path | None,
) -> CosimResult:
    tokens = result.positions
    divergence = result.divergence
    if divergence is not None:
        # The state is for playing the token again; nobody reads thousands of numbers.
        divergence.pop("state", None)
    cycles = sum(result.cycles)
    return CosimResult(
        bit_exact=result.differences == 0 and result.compared == result.expected,
        tokens=tokens,
        compared=result.compared,
        rows=result.rows,
        logits=logits,
        states=states,
        cycles_per_token=cycles / max(1, tokens),
        weights_per_token=result.weights // max(1, tokens),
        lanes=design.lanes,
        lane_utilization=result.weights / (design.lanes * cycles) if cycles else 0.0,
        counters=result.counters,
        simulated_hz=result.simulated_cycles / result.seconds,
        divergence=divergence,
        waveform=waveform if divergence is not None else None,
        profile=result.profile,
    )
