"""Files that are either whole or as they were before, and not overwritten unasked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise ValueError if ``path`` exists, unless ``force``."""
    if path.exists() and not force:
        raise ValueError(f"{path}: exists already; --force overwrites it")


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A temporary file in the same folder to write to; flushed to disk and renamed to ``path`` if the block ends without an exception, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file in the same folder, flush it to disk, and rename it to ``path``."""
    with open_atomically(path) as file:
        file.write(data)
