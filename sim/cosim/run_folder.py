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

from mmfree.chip.design import Design
from mmfree.chip.exchange import COUNTERS
from mmfree.chip.memory_image import MemoryImage, read_memory_image
from mmfree.contract.shape import AbsmaxConfig, AnyConfig, ModelConfig
from mmfree.tape.reading import AnyTape, copy_tape, open_tape
from sim.cosim.verdict import KINDS, Played
from sim.memory.model import Behaviour, memory_name

_RUN_NAME, _DUE_NAME = "run.json", "due"
_RESULT_NAME, _PLAYED_NAME, _ROWS_NAME = "result.json", "played", "rows.json"
_PROGRESS_NAME, _SHAPES_NAME = "progress", "shapes.json"


def tape_name(model: int) -> str:
    """File of a run's tape, by number."""
    return f"model{model}.tape"


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Tokens to play from a fresh state: a prompt, then what the chip chooses after it.

    ``generate`` tokens are chosen, the first by the prompt's last position, each but the last fed
    back: ``generate`` - 1 more positions. The most likely, or with ``temperature`` (in 64ths)
    drawn, from ``seed``. ``stop`` ends the sequence when it is chosen. ``state`` (int32 [L, w])
    instead of a fresh one is written into the chip. ``model``: number of the tape.
    """

    prompt: list[int]
    generate: int = 0
    temperature: int = 0
    seed: int = 0
    stop: int | None = None
    state: NDArray[np.int32] | None = None
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
    ``waveform_bytes``: the run ends after the token at which its waveform has so many; 0: never.
    ``memory``: how an external memory behaves. ``recorded``: logits and state of a token are taken
    from the writes of the vectors, which the simulation records, and not read through the ports.
    """

    design: Design
    sequences: list[Sequence]
    seed: int = 0
    traffic: Traffic = Traffic()
    profile: bool = False
    loaded: bool = False
    waveform_bytes: int = 0
    memory: Behaviour = field(default_factory=Behaviour)
    recorded: bool = False


class Place(TypedDict, total=False):
    """Where chip and golden model first differ, as plain JSON types.

    Always there: ``sequence``, ``position``, the ``token`` that was played and how, ``segment``.
    ``fault`` (a memory) if the chip withheld the token, else the first value that differs
    (``sim.tracing.divergence.Divergence``).
    """

    sequence: int
    position: int
    token: int
    begin: bool
    state: list[list[int]]
    segment: str
    fault: str
    vector: str
    index: int
    expected: int | None
    got: int | None
    cycle: int | None


@dataclass
class Result:
    """What a run reports beside what was played; see ``sim.cosim.run.CosimResult``.

    ``divergence``: None says nothing about what was not compared: the verdict is the caller's.
    ``ports``: what each port of an external memory has counted (``sim.memory.model.PortCounters``).
    """

    cycles: int = 0
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    seconds: float = 0.0
    simulated_cycles: int = 0
    divergence: Place | None = None
    profile: dict[str, dict[str, int]] | None = None
    ports: list[dict[str, int]] | None = None


def write_run(folder: Path, run: Run, due: Items[Played] = ()) -> None:
    """Ask for a run, of which ``due`` must come out; removes what an earlier one left."""
    for name in (_RESULT_NAME, _PLAYED_NAME, _ROWS_NAME, _PROGRESS_NAME):
        (folder / name).unlink(missing_ok=True)
    values = asdict(run)
    for sequence in values["sequences"]:
        if sequence["state"] is not None:
            sequence["state"] = sequence["state"].tolist()
    (folder / _RUN_NAME).write_text(json.dumps(values))
    _write_played(folder / _DUE_NAME, due)


def read_run(folder: Path) -> Run:
    """What ``write_run`` asked for."""
    values = json.loads((folder / _RUN_NAME).read_text())
    return Run(
        design=Design.from_dict(values.pop("design")),
        sequences=[_sequence(entry) for entry in values.pop("sequences")],
        traffic=Traffic(**values.pop("traffic")),
        memory=_behaviour(values.pop("memory")),
        **values,
    )


def _sequence(entry: dict[str, Any]) -> Sequence:
    state = entry.pop("state")
    return Sequence(**entry, state=None if state is None else np.array(state, dtype=np.int32))


def _behaviour(entry: dict[str, Any]) -> Behaviour:
    low, high = entry.pop("latency")
    return Behaviour(**entry, latency=(low, high))


def read_due(folder: Path) -> list[Played]:
    """What must come out of the run, sequence by sequence."""
    return _read_played(folder / _DUE_NAME)


def write_result(folder: Path, result: Result, played: Items[Played]) -> None:
    """Report the outcome, and all that came out of the chip."""
    _write_played(folder / _PLAYED_NAME, played)
    (folder / _RESULT_NAME).write_text(json.dumps(asdict(result)))


def read_result(folder: Path) -> tuple[Result, list[Played]] | None:
    """What ``write_result`` reported; None if the run ended before it could."""
    path = folder / _RESULT_NAME
    if not path.exists():
        return None
    return Result(**json.loads(path.read_text())), _read_played(folder / _PLAYED_NAME)


def _write_played(path: Path, played: Items[Played]) -> None:
    with path.open("wb") as file:
        np.save(file, np.array(len(played)))
        for sequence in played:
            arrays = sequence.arrays()
            for kind in KINDS:
                np.save(file, arrays[kind])


def _read_played(path: Path) -> list[Played]:
    with path.open("rb") as file:
        count = int(np.load(file))
        return [Played(**{kind: np.load(file) for kind in KINDS}) for _ in range(count)]


def write_rows(folder: Path, rows: list[int]) -> None:
    """Report the rows that the chip chose, of a run that reads nothing else."""
    (folder / _ROWS_NAME).write_text(json.dumps(rows))


def read_rows(folder: Path) -> list[int]:
    """What ``write_rows`` reported."""
    rows: list[int] = json.loads((folder / _ROWS_NAME).read_text())
    return rows


def write_tapes(folder: Path, tapes: Items[AnyTape]) -> None:
    """The run's tapes, and their shapes."""
    for model, tape in enumerate(tapes):
        copy_tape(tape, folder / tape_name(model))
    shapes = [[tape.arithmetic, tape.config.to_dict()] for tape in tapes]
    (folder / _SHAPES_NAME).write_text(json.dumps(shapes))


def read_tapes(folder: Path) -> list[AnyTape]:
    """What ``write_tapes`` wrote."""
    return [
        open_tape(folder / tape_name(model))
        for model in range(len(list(folder.glob("model*.tape"))))
    ]


class Models:
    """The models of a run: shapes of all, and each tape as often as it is asked for.

    A simulator that keeps none takes no more memory than the chip does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.configs: list[AnyConfig] = [
            AbsmaxConfig(**config) if arithmetic == "absmax" else ModelConfig(**config)
            for arithmetic, config in json.loads((folder / _SHAPES_NAME).read_text())
        ]

    def tape(self, model: int) -> AnyTape:
        """Read a tape."""
        return open_tape(self._folder / tape_name(model))

    def images(self, design: Design) -> list[MemoryImage]:
        """What is in the external memory of a design."""
        return [
            read_memory_image(self._folder / memory_name(model), design)
            for model in range(len(self.configs))
        ]


def note_position(folder: Path) -> None:
    """Count a position as played."""
    with (folder / _PROGRESS_NAME).open("ab") as file:
        file.write(b".")


def positions_played(folder: Path) -> int:
    """Positions counted so far; may be asked while the simulation runs."""
    path = folder / _PROGRESS_NAME
    return path.stat().st_size if path.exists() else 0
