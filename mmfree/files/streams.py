"""The bytes of a file as they are meant: decompressed where its name says so; those of a pipe as
often as they are asked for.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

from mmfree.errors import InputError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""Suffix of a compressed file -> what it was compressed with."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of what comes through a pipe compressed."""

_COUNTED_BYTES = 1 << 20
"""Read at a time to count what a compressed file holds."""


def suffix_within(path: Path) -> str:
    """The suffix without that of a compression, in lower case: .jsonl of a.JSONL.gz."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSIONS else suffix


def is_pipe(path: Path) -> bool:
    """Whether a path can be read but once, from its start to its end."""
    mode = path.stat().st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """What a file holds, decompressed; what a pipe gives, from its start each time.

    A pipe is read to its end first, into a temporary file without a name, which lasts as long as
    the process.

    Raises
    ------
    InputError
        Also while the block reads: if the file cannot be read, or is not compressed as its name
        says, or is damaged or cut off; the message names it.
    """
    try:
        with _open(path) as raw, _decompressed(path, raw) as file:
            yield file
    except OSError as error:
        if error.errno is not None and error.strerror:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        raise _damaged(path, error) from None
    except (EOFError, zlib.error) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    kind = COMPRESSIONS.get(path.suffix.lower(), "text")
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return InputError(
        f"{path}: damaged, cut off, or no {kind} file: {reason}; get it again, or name it as what"
        " it is"
    )


def _decompressed(path: Path, raw: BinaryIO) -> BinaryIO:
    kind = COMPRESSIONS.get(path.suffix.lower())
    if kind is None and isinstance(raw, io.BufferedReader) and is_pipe(path):
        # Its name says nothing.
        begins = raw.peek(4)
        kind = next((kind for magic, kind in _MAGIC.items() if begins.startswith(magic)), None)
    if kind == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if kind == "zstd":
        import pyarrow

        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")
        return io.BufferedReader(stream)
    return raw


def count_bytes(path: Path) -> int:
    """How many bytes ``open_bytes`` gives; of a compressed file they have to be read."""
    if path.suffix.lower() not in COMPRESSIONS and not is_pipe(path):
        return path.stat().st_size
    with open_bytes(path) as file:
        return sum(map(len, iter(lambda: file.read(_COUNTED_BYTES), b"")))


def _open(path: Path) -> BinaryIO:
    if not is_pipe(path):
        return path.open("rb")
    found = path.stat()
    return io.BufferedReader(_Again(_copy_of(path, found.st_dev, found.st_ino)))


@cache
def _copy_of(path: Path, device: int, number: int) -> int:
    """A file without a name that holds all that a pipe gives: its descriptor."""
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise InputError(
            f"{path}: a pipe can be read by one process, but WORLD_SIZE is {processes}: write it to"
            " a file"
        )
    try:
        with path.open("rb") as pipe, tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(pipe, copy)
            copy.flush()
            return os.dup(copy.fileno())
    except OSError as error:
        raise InputError(
            f"{path}: the pipe cannot be copied to a temporary file: {error.strerror}; write it to"
            " a file where there is room"
        ) from None


class _Again(io.RawIOBase):
    """A file by its descriptor, read from its start, whoever else reads it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count
