"""The one door to tapes: opens a file of either version."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from mmfree.tape import absmax, pow2
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.container import TapeError, name_errors, read_prefix, version_error
from mmfree.tape.pow2 import Tape, decode_tape

AnyTape: TypeAlias = Tape | AbsmaxTape
"""A tape of either version. Each names its ``arithmetic``, and has ``config``, ``formats``,
``tokenizer``, ``segments``, ``sha256`` and sizes; what else it has belongs to its arithmetic."""


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
        return decode_tape(path.read_bytes())


def open_chip_tape(path: Path) -> Tape:
    """A tape that the accelerator plays; TapeError, too, if its arithmetic is another."""
    tape = open_tape(path)
    if not isinstance(tape, Tape):
        raise TapeError(
            f"{path}: a tape of {tape.arithmetic} arithmetic (a published checkpoint), which the"
            " accelerator does not have yet: `mmfree inspect`, `generate` and `evaluate` take it,"
            " with backend golden"
        )
    return tape
