"""Verilator's own library, which every simulation holds: compiled once, kept beside the builds.

Half of the time that a small design takes to build is this library's, and it is always the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_OBJECTS = "verilated*.o"


def library_folder(cache: Path, programs: Sequence[Path], options: Sequence[str]) -> Path:
    """Where the library is kept that these programs make of these options.

    A program that is replaced has another time, or size, and so another folder.
    """
    found = [program.resolve() for program in programs]
    states = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in found]
    return cache / hashlib.sha256(repr((states, list(options))).encode()).hexdigest()[:32]


def lend(library: Path, build: Path) -> list[str]:
    """Copy what is kept into the folder of a build; arguments by which make leaves it alone.

    What cannot be copied, make compiles.
    """
    lent = []
    for kept in sorted(library.glob(_OBJECTS)):
        with suppress(OSError):
            shutil.copyfile(kept, build / kept.name)
            lent.append(kept.name)
    # Each would be older than the makefile of the design.
    return [f"--old-file={name}" for name in lent]


def keep(library: Path, build: Path) -> None:
    """Keep what a build compiled, in one step, unless it is kept already, or cannot be."""
    # The build is whole without it: a full disk or a cache that is not ours is no failure. Another
    # process may have been first.
    with suppress(OSError):
        if library.is_dir():
            return
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent, prefix=".library-") as name:
            complete = Path(name) / "complete"
            complete.mkdir()
            for built in build.glob(_OBJECTS):
                with (complete / built.name).open("wb") as file:
                    file.write(built.read_bytes())
                    # Not to be found empty after a power cut: every later build would fail.
                    os.fsync(file.fileno())
            complete.rename(library)
