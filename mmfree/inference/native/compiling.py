"""The library of the fast player, compiled where it is used: by the user's compiler, once.

path = compiled_library()           # in ~/.cache/mmfree/player, or found there
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmfree.errors import ToolMissing

SOURCE_FOLDER = Path(__file__).parent / "src"

ARITHMETIC_FLAGS = ("-ffp-contract=off", "-fwrapv")
"""The contract's arithmetic: products and sums are rounded one by one, integers wrap."""

FLAGS = (
    *("-std=c++20", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden"),
    *ARITHMETIC_FLAGS,
    # Nothing asks for errno or traps: so loops with floor() become vectors.
    *("-fno-math-errno", "-fno-trapping-math"),
)
"""What the library is compiled with, whoever does it."""

COMPILERS = ("g++", "clang++")
"""Those that are looked for, unless $CXX names one."""

LIBRARY_NAME = "player.so"
LOG_NAME = "compiler.log"


def sources() -> list[Path]:
    """The files that are compiled, in the order of their names."""
    return sorted(SOURCE_FOLDER.glob("*.cpp"))


def sources_digest() -> str:
    """sha256 of all sources, headers included: what a library says that it was made of."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE_FOLDER.iterdir()):
        if path.suffix in (".cpp", ".h"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def find_compiler() -> list[str]:
    """The command of a C++ compiler: $CXX, or the first of COMPILERS on PATH.

    Raises
    ------
    ToolMissing
        If there is none.
    """
    try:
        asked = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise ToolMissing(f"no C++ compiler for the fast player: $CXX: {error}") from None
    for command in [asked] if asked else [[name] for name in COMPILERS]:
        if (found := shutil.which(command[0])) is not None:
            return [found, *command[1:]]
    names = f"$CXX, {asked[0]}," if asked else " and ".join(COMPILERS)
    raise ToolMissing(
        f"no C++ compiler for the fast player: {names} not found on PATH; install one"
    )


def is_compiled() -> bool:
    """Whether the library of these sources, this compiler and these flags is there."""
    try:
        return _place(find_compiler()).exists()
    except (ToolMissing, RuntimeError):
        return False


def _place(compiler: list[str]) -> Path:
    """Where the library is kept."""
    # Homes are shared by machines of several kinds.
    place = (sys.platform, platform.machine())
    made_by = (sources_digest(), _version(compiler), compiler, FLAGS, place)
    key = hashlib.sha256(repr(made_by).encode()).hexdigest()
    return cache_folder() / key[:32] / LIBRARY_NAME


def compiled_library() -> Path:
    """The library of these sources, this compiler and these flags, compiled unless it is there.

    Raises
    ------
    ToolMissing
        If there is no compiler, it fails, or the cache cannot be written; the message says what to
        do, and holds the last of the compiler's errors.
    """
    compiler = find_compiler()
    try:
        library = _place(compiler)
        folder = library.parent
        if library.exists():
            return library
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            # Another process may have had the lock, and compiled it.
            if not library.exists():
                _compile(compiler, sources_digest(), library)
    except (OSError, RuntimeError) as error:
        if isinstance(error, ToolMissing):
            raise
        # Path.home() of a user without one is a RuntimeError.
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        raise ToolMissing(
            f"the fast player cannot be kept: {told}; set XDG_CACHE_HOME to a folder that can be"
            " written"
        ) from None
    return library


def cache_folder() -> Path:
    """mmfree/player in $XDG_CACHE_HOME, by default ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mmfree" / "player"


def _compile(compiler: list[str], digest: str, library: Path) -> None:
    if sys.stderr.isatty():
        print("compiling the fast player, once: some ten seconds", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as name:
        made = Path(name) / LIBRARY_NAME
        command = [
            *compiler,
            *FLAGS,
            "-shared",
            f'-DMMFREE_SOURCES="{digest}"',
            *map(str, sources()),
            *("-o", str(made)),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise ToolMissing(
                f"the fast player could not be compiled: {compiler[0]}: {error.strerror}; set CXX"
                " to another compiler"
            ) from None
        if done.returncode or not made.exists():
            (library.parent / LOG_NAME).write_text(done.stderr, encoding="utf-8")
            lines = done.stderr.strip().splitlines()
            lines = lines or [f"exit code {done.returncode}, and nothing was made"]
            # A compiler's last line may be the drawing below an error.
            told = [line for line in lines if "error" in line] or lines
            raise ToolMissing(
                f"the fast player could not be compiled by {compiler[0]}: {told[-1].strip()}"
                f" (all of it: {library.parent / LOG_NAME}); set CXX to another compiler"
            )
        made.rename(library)


def _version(compiler: list[str]) -> str:
    """What a compiler says of itself; "" if it says nothing."""
    try:
        return subprocess.run(
            [*compiler, "--version"], capture_output=True, text=True, errors="replace"
        ).stdout
    except OSError:
        return ""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    with path.open("w") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
