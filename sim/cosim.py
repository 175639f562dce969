"""Co-simulation of a tape: the accelerator in a Verilog simulator against the golden model."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdl.accelerator import Accelerator
from hdl.emit import TOP, VERILOG_NAME, convert_rtlil, convert_verilog, write_memory_files
from mmfree.design import Design
from mmfree.layout import layout
from mmfree.tape import Tape, write_tape
from sim.runner import SimulatorError, build, run


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Tokens to play from a fresh state: a prompt, then ``generate`` - 1 more positions, each fed the chip's own choice of the position before.

    So ``generate`` tokens are chosen after the prompt, the first by the prompt's last position.
    """

    prompt: list[int]
    generate: int = 0


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
    spec: dict[str, Any] = {
        "design": design.to_dict(),
        "sequences": [vars(sequence) for sequence in sequences],
        "seed": seed,
        "profile": profile,
        **vars(traffic or Traffic()),
    }
    with tempfile.TemporaryDirectory(prefix="mmfree-cosim-") as name:
        folder = Path(name)
        _write_run_folder(folder, tape, design)
        outcome = _simulate(folder, spec)
        divergence = outcome["divergence"]
        if divergence is not None and waveform is not None:
            _record(folder, spec, divergence, waveform)
    return _result(tape, design, outcome, waveform if divergence is not None else None)


def _check_sequence(sequence: Sequence, tape: Tape) -> None:
    if not sequence.prompt:
        raise ValueError("a prompt must hold at least one token")
    vocab_size = tape.config.vocab_size
    if bad := [token for token in sequence.prompt if not 0 <= token < vocab_size]:
        raise ValueError(f"token {bad[0]} is not in the vocabulary of {vocab_size}")
    if sequence.generate > 1 and tape.config.head_size > vocab_size:
        raise ValueError("the head's rows are not tokens of this vocabulary: nothing to feed back")


def _write_run_folder(folder: Path, tape: Tape, design: Design) -> None:
    write_memory_files(layout(tape, design), folder)
    (folder / VERILOG_NAME).write_text(convert_verilog(convert_rtlil(Accelerator(design))))
    write_tape(tape, folder / "model.tape")


def _simulate(folder: Path, spec: dict[str, Any], trace: bool = False) -> dict[str, Any]:
    """Build (or find built) the simulation, run it in ``folder``; returns what result.json holds."""
    (folder / "run.json").write_text(json.dumps(spec))
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    model = build([folder / VERILOG_NAME], TOP, trace=trace)
    try:
        run(model, "sim.testbench", folder)
    except SimulatorError:
        # A difference fails the test, after it has written what it found.
        if not result.exists():
            raise
    return dict(json.loads(result.read_text()))


def _record(
    folder: Path, spec: dict[str, Any], divergence: dict[str, Any], waveform: Path
) -> None:
    """Play the differing token once more, alone, from the state before it, and keep the waveform."""
    start = None if divergence["begin"] else {"state": divergence["state"]}
    sequences = [{"prompt": [divergence["token"]], "generate": 0}]
    _simulate(folder, {**spec, "sequences": sequences, "start": start, "profile": False}, trace=True)
    waveform.parent.mkdir(parents=True, exist_ok=True)
    waveform.write_bytes((folder / "dump.vcd").read_bytes())


def _result(
    tape: Tape, design: Design, outcome: dict[str, Any], waveform: Path | None
) -> CosimResult:
    tokens = outcome["positions"]
    expected = tokens * (tape.config.head_size + tape.config.num_state_words)
    divergence = outcome["divergence"]
    if divergence is not None:
        divergence = {key: value for key, value in divergence.items() if key != "state"}
    cycles = sum(outcome["cycles"]) / tokens
    weights = tape.num_ternary_weights
    return CosimResult(
        bit_exact=outcome["differences"] == 0 and outcome["compared"] == expected,
        tokens=tokens,
        compared=outcome["compared"],
        rows=outcome["rows"],
        cycles_per_token=cycles,
        weights_per_token=weights,
        lanes=design.lanes,
        lane_utilization=weights / (design.lanes * cycles),
        counters=outcome["counters"],
        simulated_hz=outcome["simulated_cycles"] / outcome["seconds"],
        divergence=divergence,
        waveform=waveform,
        profile=outcome["profile"],
    )
