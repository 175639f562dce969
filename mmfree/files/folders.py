"""Folders that are written whole or not at all, by one process at a time."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmfree.errors import InputError
from mmfree.files.atomic import exists_already
from mmfree.files.claim import beside, claimed, errors_of


@dataclass(frozen=True)
class FolderKind:
    """What folders of one kind hold.

    Attributes
    ----------
    last
        Name of the file that says that a folder is finished: the first that is removed when a
        folder is replaced, and the last that is put there.
    own
        Names that such folders have, of this or an earlier version: they do not outlive a
        replacement; all others do.
    """

    last: str
    own: re.Pattern[str]

    @classmethod
    def of(cls, last: str, *names: str) -> FolderKind:
        """The kind that holds files of just these names, and ``last``."""
        named = "|".join(map(re.escape, (last, *names)))
        # Or what a killed process left of one.
        return cls(last, re.compile(rf"({named})|\.({named})\.partial"))


@contextmanager
def new_folder(path: Path, kind: FolderKind, *, force: bool = False) -> Iterator[Path]:
    """An empty folder to fill, whose files become those of ``path`` when the block ends.

    ``path`` is claimed for the whole block. If the block raises, nothing is left of what it wrote,
    and ``path`` is as it was; what a killed process left is removed.

    Parameters
    ----------
    path
        A new or empty folder; with ``force`` one that holds files.
    kind
        What is written. A process that is killed while it replaces a folder leaves it without the
        file that says it is finished.
    force
        Replace what is there: the files of this kind.

    Raises
    ------
    InputError
        If another process is writing to ``path``, it holds files and ``force`` is not given, or it
        is not a folder.
    OSError
        If it cannot be written; the error names what will be in ``path``.
    """
    with claimed(path):
        refuse_to_replace_folder(path, force)
        _, temporary = passing(path)
        with errors_of(path, temporary):
            _remove(temporary)
            temporary.mkdir(parents=True)
            try:
                yield temporary
                _put(temporary, path, kind, force)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def refuse_to_replace_folder(path: Path, force: bool) -> None:
    """Raise InputError if ``path`` is no folder, or holds files and ``force`` is not given."""
    if path.is_dir():
        if not force and any(file.resolve() not in passing(path) for file in path.iterdir()):
            raise exists_already(path)
    elif path.exists() or path.is_symlink():
        raise InputError(f"{path}: not a folder; give another --out")


def passing(path: Path) -> tuple[Path, Path]:
    """What may lie in the folder ``path`` while somebody writes to it, and is no part of it."""
    return beside(path, "lock"), beside(path, "new")


def _put(temporary: Path, path: Path, kind: FolderKind, force: bool) -> None:
    last = kind.last
    names = sorted(file.name for file in temporary.iterdir())
    for name in names:
        # A crash must not leave a name on data that are not on disk.
        with (temporary / name).open("rb") as file:
            os.fsync(file.fileno())
    assert last in names, f"{last}: the file that finishes a folder was not written"
    if not path.exists():
        os.rename(temporary, path)
        return
    # Once more: others than mmfree may have put something there.
    refuse_to_replace_folder(path, force)
    for name in names:
        if (path / name).is_dir():
            raise InputError(f"{path / name}: a folder in the way of a file; move it away")
    (path / last).unlink(missing_ok=True)
    for old in path.iterdir():
        if kind.own.fullmatch(old.name) and old.name not in names:
            _remove(old)
    for name in sorted(names, key=lambda name: name == last):
        os.replace(temporary / name, path / name)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
