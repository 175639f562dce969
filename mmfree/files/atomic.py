"""Files that are written whole or not at all, never overwritten unasked, and JSON that is checked
when it is read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from mmfree.errors import InputError
from mmfree.files.claim import claimed, errors_of, open_locked

LARGEST_INTEGER = (1 << 63) - 1
"""Integers of a JSON file are at most this far from 0: NumPy and float take each of them."""


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise InputError if the file ``path`` exists, unless ``force``, or is none: a folder, a
    device.
    """
    _refuse_other_kinds(path)
    if (path.exists() or path.is_symlink()) and not force:
        raise exists_already(path)


def exists_already(path: Path) -> InputError:
    """What to raise where something would be replaced, and nobody asked for it."""
    return InputError(f"{path}: exists already; --force overwrites it")


def _refuse_other_kinds(path: Path) -> None:
    # A device would become a file: that of everybody who uses it.
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a file; give another --out")


@contextmanager
def reserved(path: Path, *, force: bool) -> Iterator[None]:
    """Within the block nobody else makes the file ``path``: it is not there, or may be replaced.

    Raises
    ------
    InputError
        If it exists and ``force`` is not given, or another process has reserved or claimed it.
    """
    with claimed(path):
        refuse_to_overwrite(path, force)
        yield


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A temporary file in the folder of ``path``, open for writing.

    It is flushed to disk and renamed to ``path`` if the block ends without an exception, else
    removed. It always has the same name, so what a killed process left is written over. Nobody else
    can write ``path`` meanwhile.

    Raises
    ------
    InputError
        If another process is writing the file, or ``path`` is a folder or a device.
    OSError
        If it cannot be written; ``filename`` is ``path``.
    """
    _refuse_other_kinds(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.partial"
    with errors_of(path, temporary):
        handle = open_locked(temporary, path)
        # The lock lasts as long as the file is open: until it has its name, or is gone.
        with os.fdopen(handle, "wb") as file:
            try:
                file.truncate()
                yield file
                file.flush()
                # Before the rename: a crash must not leave the new name on data not on disk.
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, which is the old file or the whole new one at any moment.

    Raises what ``open_atomically`` does.
    """
    with open_atomically(path) as file:
        file.write(data)


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises
    ------
    InputError
        If the file is missing, or ``parse_json`` refuses its contents; the message names the file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    return parse_json(data, str(path))


def parse_json(data: bytes, source: str, *, any_number: bool = False) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark.

    Parameters
    ----------
    data
        The text.
    source
        Where it comes from, for messages.
    any_number
        Also take NaN, infinity and integers of any size: in records of other people, of which only
        a field of text is used.

    Raises
    ------
    InputError
        If the text is not UTF-8, not JSON or nested too deeply, or a number is not finite or beyond
        ``LARGEST_INTEGER``; the message names ``source``.
    """
    checks: dict[str, Any] = {
        "parse_constant": _refuse_constant,
        "parse_int": _checked_integer,
        "parse_float": _checked_float,
    }
    try:
        return json.loads(data.decode("utf-8-sig"), **({} if any_number else checks))
    except RecursionError:
        raise InputError(f"{source}: not valid JSON: nested too deeply") from None
    except ValueError as error:  # what the parser, the decoder and the checks below raise
        raise InputError(f"{source}: not valid JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number; give a finite one")


def _checked_integer(digits: str) -> int:
    # By its length first: Python refuses to convert thousands of digits.
    if len(digits) > 20 or abs(int(digits)) > LARGEST_INTEGER:
        raise ValueError(f"the integer {_shortened(digits)} does not fit in 64 bits")
    return int(digits)


def _checked_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {_shortened(text)} is too large for a float")
    return value


def _shortened(number: str) -> str:
    return number if len(number) <= 24 else f"{number[:20]}... of {len(number)} characters"
