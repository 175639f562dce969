"""Files that are either whole or as they were before, and not overwritten unasked."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mmfree.errors import InputError


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise InputError if ``path`` exists, unless ``force``."""
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; --force overwrites it")


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A temporary file in the same folder to write to.

    Flushed to disk and renamed to ``path`` if the block ends without an exception, else removed.
    """
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
    """Write ``data`` to a temporary file in the same folder, flush it to disk, and rename it to
    ``path``.
    """
    with open_atomically(path) as file:
        file.write(data)


@contextmanager
def new_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """An empty folder to write to, which becomes ``path`` when the block ends.

    If it raises, nothing is left.

    With ``force`` an existing folder keeps its other files, and its files of the same names are
    replaced one by one.

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is not given, or it is not a folder.
    """
    refuse_to_overwrite(path, force)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: not a folder; give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        if path.exists():
            for file in sorted(temporary.iterdir()):
                os.replace(file, path / file.name)
            temporary.rmdir()
        else:
            os.chmod(temporary, 0o755)
            os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def read_json(path: Path) -> Any:
    """Parse a JSON file; one clear InputError when it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
