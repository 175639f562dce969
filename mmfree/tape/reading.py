"""The one door to tapes: opens a file of either version."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypeAlias

from mmfree.files.atomic import open_atomically
from mmfree.tape import absmax, pow2
from mmfree.tape.absmax import AbsmaxSegment, AbsmaxTape
from mmfree.tape.container import TapeError, name_errors, read_prefix, version_error
from mmfree.tape.pow2 import Segment, Tape, read_tape, write_tape

AnyTape: TypeAlias = Tape | AbsmaxTape
"""A tape of either version. Each names its ``arithmetic``, and has ``config``, ``formats``,
``tokenizer``, ``segments``, ``sha256`` and sizes; what else it has belongs to its arithmetic."""

AnySegment: TypeAlias = Segment | AbsmaxSegment
"""A segment of either: its ``name``, ``kind``, ``layer``, ``fan_in`` and ``matrices``."""


def open_tape(path: Path) -> AnyTape:
    """Read and check a tape file, whatever its arithmetic.

    Raises
    ------
    TapeError
        If there is no such file, or it is no tape that this mmfree reads; the message names it.
    """
    try:
        with name_errors(path), path.open("rb") as file:
            version, _ = read_prefix(file)
    except FileNotFoundError:
        raise TapeError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TapeError(f"{path}: a folder, not a tape file") from None
    if version == absmax.VERSION:
        return AbsmaxTape(path)
    with name_errors(path):
        if version != pow2.VERSION:
            raise version_error(version, (pow2.VERSION, absmax.VERSION))
        return read_tape(path)


def copy_tape(tape: AnyTape, path: Path) -> None:
    """Write a tape to another file, byte for byte."""
    if isinstance(tape, Tape):
        write_tape(tape, path)
        return
    with tape.path.open("rb") as source, open_atomically(path) as file:
        shutil.copyfileobj(source, file, 1 << 20)


def open_pow2_tape(path: Path) -> Tape:
    """A tape of a model trained here; TapeError, too, if its arithmetic is another."""
    tape = open_tape(path)
    if not isinstance(tape, Tape):
        raise TapeError(
            f"{path}: a tape of {tape.arithmetic} arithmetic (a published checkpoint), and this is"
            " for models trained here"
        )
    return tape
