"""Files of every form, made here, that tests share."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow


def zstd(data: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd,
}


def fifo(path: Path, data: bytes) -> Path:
    """A pipe that is written to once."""
    os.mkfifo(path)

    def write() -> None:
        with suppress(BrokenPipeError):
            path.write_bytes(data)

    threading.Thread(target=write, daemon=True).start()
    return path
