"""The folder in which a co-simulation runs.

What both sides of the simulator's wall write and read there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdl.control.counters import COUNTERS
from mmfree.tape.pow2 import Tape, write_tape
from mmfree.tape.reading import read_tape

_RUN_NAME, _RESULT_NAME, _VALUES_NAME, _PROGRESS_NAME = (
    "run.json",
    "result.json",
    "values",
    "progress",
)


def tape_name(model: int) -> str:
    """File of a run's tape, by number."""
    return f"model{model}.tape"


@dataclass(kw_only=True)
class Run:
    """What is asked for.

    ``sequences``: ``sim.cosim.run.Sequence`` as plain JSON types. ``loaded``: the memories hold no
    tape at first; every tape comes through the load port. ``checked``: the golden model plays
    beside. ``idle``, ``back_pressure``, ``pause``: probabilities per cycle of a token held back, a
    result not taken, weights not available.
    """

    design: dict[str, Any]
    sequences: list[dict[str, Any]]
    seed: int = 0
    idle: float = 0.0
    back_pressure: float = 0.0
    pause: float = 0.0
    profile: bool = False
    loaded: bool = False
    checked: bool = True


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
    divergence: dict[str, Any] | None = None
    profile: dict[str, dict[str, int]] | None = None


def write_run(folder: Path, run: Run) -> None:
    """Ask for a run; removes what an earlier one left."""
    for name in (_RESULT_NAME, _VALUES_NAME, _PROGRESS_NAME):
        (folder / name).unlink(missing_ok=True)
    (folder / _RUN_NAME).write_text(json.dumps(asdict(run)))


def read_run(folder: Path) -> Run:
    """What ``write_run`` asked for."""
    return Run(**json.loads((folder / _RUN_NAME).read_text()))


def write_result(
    folder: Path, result: Result, logits: list[NDArray[np.int16]], states: list[NDArray[np.int16]]
) -> None:
    """Report the outcome, the logits of every position and the state behind every sequence."""
    with (folder / _VALUES_NAME).open("wb") as file:
        for values in (*logits, *states):
            np.save(file, values)
    (folder / _RESULT_NAME).write_text(json.dumps(asdict(result)))


def read_result(folder: Path) -> Result | None:
    """What ``write_result`` reported; None if the run ended without."""
    path = folder / _RESULT_NAME
    return Result(**json.loads(path.read_text())) if path.exists() else None


def read_values(
    folder: Path, positions: int
) -> tuple[list[NDArray[np.int16]], list[NDArray[np.int16]]]:
    """Logits [rows] of the chip at every position, and its state [L, d] behind every sequence that
    was played to its end.
    """
    path = folder / _VALUES_NAME
    arrays = []
    with path.open("rb") as file:
        while file.tell() < path.stat().st_size:
            arrays.append(np.load(file))
    return arrays[:positions], arrays[positions:]


def write_tapes(folder: Path, tapes: list[Tape]) -> None:
    """The run's tapes."""
    for model, tape in enumerate(tapes):
        write_tape(tape, folder / tape_name(model))


def read_tapes(folder: Path) -> list[Tape]:
    """What ``write_tapes`` wrote."""
    return [
        read_tape(folder / tape_name(model))
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
