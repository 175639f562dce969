"""The folder in which a co-simulation runs.

Simulator and caller are two processes: here is what one writes there and the other reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as Items
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from hdl.interface import COUNTERS
from mmfree.chip.design import Design
from mmfree.tape.pow2 import Tape, write_tape
from mmfree.tape.reading import open_chip_tape

_RUN_NAME, _RESULT_NAME, _VALUES_NAME, _PROGRESS_NAME = (
    "run.json",
    "result.json",
    "values",
    "progress",
)


def tape_name(model: int) -> str:
    """File of a run's tape, by number."""
    return f"model{model}.tape"


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Tokens to play from a fresh state: a prompt, then what the chip chooses after it.

    ``generate`` tokens are chosen, the first by the prompt's last position, each but the last fed
    back: ``generate`` - 1 more positions. The most likely, or with ``temperature`` (in 64ths)
    drawn, from ``seed``. ``stop`` ends the sequence when it is chosen. ``state`` (int16 [L, d])
    instead of a fresh one is written into the chip. ``model``: number of the tape.
    """

    prompt: list[int]
    generate: int = 0
    temperature: int = 0
    seed: int = 0
    stop: int | None = None
    state: NDArray[np.int16] | None = None
    model: int = 0

    @property
    def positions(self) -> int:
        """Tokens that the chip plays, unless ``stop`` ends the sequence earlier."""
        return len(self.prompt) + max(0, self.generate - 1)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Disturbance of the interfaces, for tests: probabilities per cycle.

    ``idle``: a token is held back. ``back_pressure``: a result is not taken. ``pause``: weights are
    not available.
    """

    idle: float = 0.0
    back_pressure: float = 0.0
    pause: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is asked for.

    ``seed``: of the random traffic. ``profile``: attribute cycles to segments and causes.
    ``loaded``: the memories hold no tape at first; every tape comes through the load port.
    ``checked``: the chip's choices are compared with the golden model's (a measurement of activity
    can do without).
    """

    design: Design
    sequences: list[Sequence]
    seed: int = 0
    traffic: Traffic = Traffic()
    profile: bool = False
    loaded: bool = False
    checked: bool = True


class Place(TypedDict, total=False):
    """Where chip and golden model first differ, as plain JSON types.

    ``sequence``, ``position`` and ``segment`` are always there; ``fault`` (a memory) if the chip
    withheld the token, else the ``token`` that was played and how, and the first value that differs
    (``sim.cosim.divergence.Divergence``).
    """

    sequence: int
    position: int
    segment: str
    fault: str
    token: int
    begin: bool
    state: list[list[int]]
    vector: str
    index: int
    expected: int | None
    got: int | None
    cycle: int | None


@dataclass
class Result:
    """What came out; see ``sim.cosim.run.CosimResult`` for the meaning of the fields."""

    rows: list[list[int]] = field(default_factory=list)
    positions: int = 0
    compared: int = 0
    expected: int = 0
    weights: int = 0
    differences: int = 0
    cycles: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    seconds: float = 0.0
    simulated_cycles: int = 0
    divergence: Place | None = None
    profile: dict[str, dict[str, int]] | None = None


def write_run(folder: Path, run: Run) -> None:
    """Ask for a run; removes what an earlier one left."""
    for name in (_RESULT_NAME, _VALUES_NAME, _PROGRESS_NAME):
        (folder / name).unlink(missing_ok=True)
    values = asdict(run)
    for sequence in values["sequences"]:
        if sequence["state"] is not None:
            sequence["state"] = sequence["state"].tolist()
    (folder / _RUN_NAME).write_text(json.dumps(values))


def read_run(folder: Path) -> Run:
    """What ``write_run`` asked for."""
    values = json.loads((folder / _RUN_NAME).read_text())
    return Run(
        design=Design.from_dict(values.pop("design")),
        sequences=[_sequence(entry) for entry in values.pop("sequences")],
        traffic=Traffic(**values.pop("traffic")),
        **values,
    )


def _sequence(entry: dict[str, Any]) -> Sequence:
    state = entry.pop("state")
    return Sequence(**entry, state=None if state is None else np.array(state, dtype=np.int16))


def write_result(
    folder: Path, result: Result, logits: list[NDArray[np.int16]], states: list[NDArray[np.int16]]
) -> None:
    """Report the outcome, the logits of every position and the state after every sequence."""
    with (folder / _VALUES_NAME).open("wb") as file:
        for values in (*logits, *states):
            np.save(file, values)
    (folder / _RESULT_NAME).write_text(json.dumps(asdict(result)))


def read_result(folder: Path) -> Result | None:
    """What ``write_result`` reported; None if the run ended before it could."""
    path = folder / _RESULT_NAME
    return Result(**json.loads(path.read_text())) if path.exists() else None


def read_values(
    folder: Path, positions: int
) -> tuple[list[NDArray[np.int16]], list[NDArray[np.int16]]]:
    """Logits [rows] of the chip at every position, and its states [L, d] after the sequences.

    A sequence that was not played to its end has no state.
    """
    path = folder / _VALUES_NAME
    arrays = []
    with path.open("rb") as file:
        while file.tell() < path.stat().st_size:
            arrays.append(np.load(file))
    return arrays[:positions], arrays[positions:]


def write_tapes(folder: Path, tapes: Items[Tape]) -> None:
    """The run's tapes."""
    for model, tape in enumerate(tapes):
        write_tape(tape, folder / tape_name(model))


def read_tapes(folder: Path) -> list[Tape]:
    """What ``write_tapes`` wrote."""
    return [
        open_chip_tape(folder / tape_name(model))
        for model in range(len(list(folder.glob("model*.tape"))))
    ]


def note_position(folder: Path) -> None:
    """Count a position as played."""
    with (folder / _PROGRESS_NAME).open("ab") as file:
        file.write(b".")


def positions_played(folder: Path) -> int:
    """Positions counted so far; may be asked while the simulation runs."""
    path = folder / _PROGRESS_NAME
    return path.stat().st_size if path.exists() else 0
