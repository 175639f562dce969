"""Co-simulation of a tape: the accelerator in a Verilog simulator against the golden model."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hdl.accelerator import Accelerator
from hdl.emit import TOP, VERILOG_NAME, convert_rtlil, convert_verilog, write_memory_files
from mmfree.design import Design
from mmfree.layout import layout
from mmfree.tape import Tape, write_tape
from sim.run_folder import (
    TAPE_NAME,
    Result,
    Run,
    positions_played,
    read_result,
    read_values,
    write_run,
)
from sim.runner import WAVEFORM_NAME, SimulatorError, build, run


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Tokens to play from a fresh state: a prompt, then ``generate`` - 1 more positions, each fed the chip's own choice of the position before.

    So ``generate`` tokens are chosen after the prompt, the first by the prompt's last position. ``state`` (int16 [L, d]) instead of a fresh one is written into the chip.
    """

    prompt: list[int]
    generate: int = 0
    state: NDArray[np.int16] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        state = None if self.state is None else self.state.tolist()
        return {"prompt": self.prompt, "generate": self.generate, "state": state}


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Disturbance of the interfaces, for tests: probability per cycle that a token is held back, a result is not taken, weights are not available."""

    idle: float = 0.0
    back_pressure: float = 0.0
    pause: float = 0.0


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
        The chip's logits of every position, int16 [tokens, rows], 9 fraction bits.
    states
        The chip's state behind every sequence, int16 [sequences, L, d], if bit_exact.
    cycles_per_token
        From a token's acceptance until its result is valid; mean over the positions (simulated).
    counters
        The chip's counters, summed over the positions.
    simulated_hz
        Clock cycles simulated per second of wall time, the golden model's time included.
    divergence
        If not bit_exact: segment, vector and index of the first value that differs, and both values.
    waveform
        VCD file around the divergence, if asked for.
    profile
        If asked for: segment -> cause -> cycles, summed over the positions.
    """

    bit_exact: bool
    tokens: int
    compared: int
    rows: list[list[int]]
    logits: NDArray[np.int16]
    states: NDArray[np.int16]
    cycles_per_token: float
    weights_per_token: int
    lanes: int
    lane_utilization: float
    counters: dict[str, int]
    simulated_hz: float
    divergence: dict[str, Any] | None = None
    waveform: Path | None = None
    profile: dict[str, dict[str, int]] | None = None


def cosim(
    tape: Tape,
    design: Design,
    sequences: list[Sequence],
    *,
    seed: int = 0,
    traffic: Traffic | None = None,
    profile: bool = False,
    waveform: Path | None = None,
) -> CosimResult:
    """Play sequences on chip and golden model and compare them bit for bit.

    Parameters
    ----------
    tape, design
        The model, and an accelerator that it fits.
    sequences
        Each starts from a fresh state.
    seed
        Of the random traffic.
    traffic
        Disturbance of the interfaces; none by default.
    profile
        Attribute cycles to segments and causes.
    waveform
        Where to write a VCD of the first token that differs, if one does.

    Raises
    ------
    LayoutError
        If the tape does not fit the design.
    ValueError
        If a sequence is empty or a token id is not in the vocabulary.
    SimulatorError
        If the simulator or a compiler is missing, or the simulation itself fails.
    """
    for sequence in sequences:
        _check_sequence(sequence, tape)
    asked = Run(
        design=design.to_dict(),
        sequences=[sequence.to_dict() for sequence in sequences],
        seed=seed,
        profile=profile,
        **vars(traffic or Traffic()),
    )
    with tempfile.TemporaryDirectory(prefix="mmfree-cosim-") as name:
        folder = Path(name)
        _write_design(folder, tape, design)
        result = _simulate(folder, asked)
        logits, states = read_values(folder)
        if result.divergence is not None and waveform is not None:
            _record(folder, asked, result.divergence, waveform)
    return _outcome(tape, design, result, logits, states, waveform)


def _check_sequence(sequence: Sequence, tape: Tape) -> None:
    if not sequence.prompt:
        raise ValueError("a prompt must hold at least one token")
    vocab_size = tape.config.vocab_size
    if bad := [token for token in sequence.prompt if not 0 <= token < vocab_size]:
        raise ValueError(f"token {bad[0]} is not in the vocabulary of {vocab_size}")
    if sequence.generate > 1 and tape.config.head_size > vocab_size:
        raise ValueError("the head's rows are not tokens of this vocabulary: nothing to feed back")


def _write_design(folder: Path, tape: Tape, design: Design) -> None:
    write_memory_files(layout(tape, design), folder)
    (folder / VERILOG_NAME).write_text(convert_verilog(convert_rtlil(Accelerator(design))))
    write_tape(tape, folder / TAPE_NAME)


def _simulate(folder: Path, asked: Run, trace: bool = False) -> Result:
    """Build (or find built) the simulation, and run it in ``folder``."""
    write_run(folder, asked)
    model = build([folder / VERILOG_NAME], TOP, trace=trace)
    positions = sum(len(s["prompt"]) + max(0, s["generate"] - 1) for s in asked.sequences)
    with _progress_bar(folder, positions):
        try:
            run(model, "sim.testbench", folder)
        except SimulatorError:
            # A difference fails the test, after it has reported what it found.
            if (result := read_result(folder)) is None:
                raise
            return result
    result = read_result(folder)
    assert result is not None
    return result


@contextmanager
def _progress_bar(folder: Path, positions: int) -> Iterator[None]:
    """Show the positions played on stderr while the simulation runs."""
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


def _record(folder: Path, asked: Run, divergence: dict[str, Any], waveform: Path) -> None:
    """Play the differing token once more, alone, from the state before it, and keep the waveform."""
    state = None if divergence["begin"] else divergence["state"]
    sequences = [{"prompt": [divergence["token"]], "generate": 0, "state": state}]
    _simulate(folder, replace(asked, sequences=sequences, profile=False), trace=True)
    waveform.parent.mkdir(parents=True, exist_ok=True)
    waveform.write_bytes((folder / WAVEFORM_NAME).read_bytes())


def _outcome(
    tape: Tape,
    design: Design,
    result: Result,
    logits: NDArray[np.int16],
    states: NDArray[np.int16],
    waveform: Path | None,
) -> CosimResult:
    tokens = result.positions
    expected = tokens * (tape.config.head_size + tape.config.num_state_words)
    divergence = result.divergence
    if divergence is not None:
        divergence = {key: value for key, value in divergence.items() if key != "state"}
    cycles = sum(result.cycles) / tokens
    weights = tape.num_ternary_weights
    return CosimResult(
        bit_exact=result.differences == 0 and result.compared == expected,
        tokens=tokens,
        compared=result.compared,
        rows=result.rows,
        logits=logits,
        states=states,
        cycles_per_token=cycles,
        weights_per_token=weights,
        lanes=design.lanes,
        lane_utilization=weights / (design.lanes * cycles),
        counters=result.counters,
        simulated_hz=result.simulated_cycles / result.seconds,
        divergence=divergence,
        waveform=waveform if divergence is not None else None,
        profile=result.profile,
    )
