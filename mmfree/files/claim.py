"""Claims: one process at a time writes to a path, and a second one is told so at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmfree.errors import InputError

if sys.platform != "win32":
    import fcntl

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""What file systems say that have no locks."""

_held: set[Path] = set()
"""What this process has claimed."""


class BusyError(InputError):
    """Another process writes to the same path."""


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Whoever else claims ``path``, a file or folder that need not exist, is refused meanwhile.

    A claim ends with its process, however that ends. Within a claim this process may claim the same
    path again.

    Raises
    ------
    BusyError
        If another process has claimed the path.
    """
    whole = path.resolve()
    if whole in _held:
        yield
        return
    lock = beside(path, "lock")
    made = [folder for folder in lock.parents if not folder.exists()]
    with errors_of(path, lock):
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:  # a file is where a folder is needed
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename
            ) from None
        handle = open_locked(lock, path)
    _held.add(whole)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        _held.discard(whole)
        # Before the lock is let go: who waits for this very file sees that it is gone.
        lock.unlink(missing_ok=True)
        os.close(handle)
        for folder in made:
            # Nothing came of it: folders that were made for it alone go, too.
            with suppress(OSError):
                folder.rmdir()


def beside(path: Path, suffix: str) -> Path:
    """Where something lies that belongs to ``path`` while it is written: ``.NAME.suffix``.

    It is in the same folder; or within ``path``, if that is a folder to whose own folder nobody may
    write, or from which nothing can be renamed into it: a mounted disk.
    """
    whole = path.resolve()
    parent = whole.parent
    if whole.is_dir() and not (
        os.access(parent, os.W_OK) and parent.stat().st_dev == whole.stat().st_dev
    ):
        parent = whole
    return parent / f".{whole.name}.{suffix}"


def open_locked(place: Path, path: Path) -> int:
    """Descriptor of the file ``place``, made if need be, which no other process has locked.

    It stays locked until it is closed. ``path`` is what the error names.

    Raises
    ------
    BusyError
        If another process has locked the file; if it wrote its number there, the message has it.
    """
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            _lock(handle, path)
        except BaseException:
            os.close(handle)
            raise
        if _is_same(handle, place):
            return handle
        # Its last holder has removed or renamed it since it was opened.
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    if sys.platform == "win32":  # nothing is refused there
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(handle, 20, 0)
        writer = f"process {number.decode()}" if number.isdigit() else "another process"
        raise BusyError(
            f"{path}: {writer} is writing there; wait until it has finished, or choose another"
            " place"
        ) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise


def _is_same(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False


@contextmanager
def errors_of(path: Path, temporary: Path) -> Iterator[None]:
    """System errors about ``temporary``, or files in it, or a full disk, name ``path`` instead."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if name is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            name = str(temporary)
        if not isinstance(name, str | os.PathLike) or error.errno is None:
            raise
        try:
            rest = Path(name).relative_to(temporary)
        except ValueError:
            raise error from None
        raise OSError(error.errno, error.strerror, str(path / rest)) from None
