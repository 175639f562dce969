"""Files that are either whole or as they were before, and not overwritten unasked."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise ValueError if ``path`` exists, unless ``force``."""
    if path.exists() and not force:
        raise ValueError(f"{path}: exists already; --force overwrites it")


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file in the same folder, flush it to disk, and rename it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
