"""What a checkpoint was trained on: where its text was, a piece of what was held out, and the plans
it has behind it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.files.atomic import read_json, write_atomically
from mmfree.files.streams import is_pipe
from mmfree.text.corpus import Corpus
from mmfree.text.sources import DEFAULT_FIELD, is_name
from mmfree.text.windows import streams

PROVENANCE_NAME = "training.json"
"""File of a checkpoint."""

_PIPE = "-"
"""Stands for any pipe among sources, as it does for standard input on the command line."""

HELD_OUT_TOKENS = 4096
"""Tokens of held-out text that a checkpoint carries: enough to watch a tape's ranges on."""

WATCHED_LENGTH = 64
"""Least tokens of a sequence that ranges are watched on."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a model of text has learned from.

    Attributes
    ----------
    sources
        Files, folders and names of data sets, with whole paths, and "-" for a pipe; none: the
        built-in text.
    field
        Of a record, that holds its text.
    text, digest
        Its name, for people, and the sha256 of what was learned from (``Corpus.digest``).
    held_out
        Ids of the first tokens that were held out.
    began
        Step at which the plan began.
    earlier
        Plans before it (--continue), the oldest first: step of their end, recipe, sources, field.
    teacher
        Folder of the model that is learned from besides, with its whole path; "" if there is none.
    """

    sources: tuple[str, ...] = ()
    field: str = DEFAULT_FIELD
    text: str = ""
    digest: str = ""
    held_out: tuple[int, ...] = ()
    began: int = 0
    earlier: tuple[dict[str, Any], ...] = ()
    teacher: str = ""

    @classmethod
    def of(
        cls,
        corpus: Corpus | None,
        data: list[Path],
        field: str,
        *,
        began: int = 0,
        earlier: tuple[dict[str, Any], ...] = (),
        teacher: Path | None = None,
    ) -> Provenance:
        """That of a run on ``corpus``, which was loaded from ``data``; None: a task's examples."""
        taught_by = "" if teacher is None else str(teacher.absolute())
        if corpus is None:
            return cls(began=began, earlier=earlier, teacher=taught_by)
        return cls(
            sources=tuple(map(_named, data)),
            field=field,
            text=corpus.name,
            digest=corpus.digest,
            held_out=tuple(int(token) for token in corpus.validation[:HELD_OUT_TOKENS]),
            began=began,
            earlier=earlier,
            teacher=taught_by,
        )

    @property
    def paths(self) -> list[Path]:
        """The sources, as a corpus is loaded from them.

        Raises
        ------
        InputError
            If one was a pipe, which cannot be read again.
        """
        if _PIPE in self.sources:
            raise InputError("the text came through a pipe, and is not there any more: give --data")
        return [Path(source) for source in self.sources]


def _named(path: Path) -> str:
    if is_name(path):
        return str(path)
    if str(path) == _PIPE or (path.exists() and is_pipe(path)):
        return _PIPE
    return str(path.absolute())


def watched_ids(tokens: NDArray[np.integer], start: int) -> NDArray[np.int64]:
    """Ids [B, T] of held-out text on which a model's ranges are watched, while it learns and when
    it is exported.
    """
    return streams(tokens[:HELD_OUT_TOKENS], shortest=WATCHED_LENGTH, start=start).ids


def write_provenance(folder: Path, provenance: Provenance) -> None:
    """Write PROVENANCE_NAME."""
    data = json.dumps(asdict(provenance)) + "\n"
    write_atomically(folder / PROVENANCE_NAME, data.encode())


def read_provenance(folder: Path) -> Provenance | None:
    """That of a checkpoint; None if it has none, as those of earlier versions or converted ones.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / PROVENANCE_NAME
    if not path.is_file():
        return None
    data = read_json(path)
    names = {field.name for field in fields(Provenance)}
    if isinstance(data, dict):
        # Those of earlier versions had no teacher.
        data = {"teacher": ""} | data
    if not isinstance(data, dict) or data.keys() != names or not _is_valid(data):
        raise InputError(f"{path}: damaged: not what a run says of its text; remove the file")
    lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
    return Provenance(**data | lists)


def _is_valid(data: dict[str, Any]) -> bool:
    def holds(name: str, kind: type) -> bool:
        return isinstance(data[name], list) and all(type(value) is kind for value in data[name])

    return (
        isinstance(data["field"], str)
        and isinstance(data["text"], str)
        and isinstance(data["digest"], str)
        and isinstance(data["teacher"], str)
        and type(data["began"]) is int
        and holds("sources", str)
        and holds("held_out", int)
        and holds("earlier", dict)
        and all(0 <= token < 1 << 32 for token in data["held_out"])
    )
