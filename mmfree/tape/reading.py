"""Opening tapes: which arithmetic a file is in."""

from __future__ import annotations

from pathlib import Path

from mmfree.tape.pow2 import ABSMAX_VERSION, MAGIC, PREFIX, Tape, TapeError, decode_tape


def is_absmax(path: Path) -> bool:
    """Whether ``path`` begins like a tape of a published checkpoint."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        prefix = file.read(PREFIX.size)
    return len(prefix) == PREFIX.size and PREFIX.unpack(prefix)[:2] == (MAGIC, ABSMAX_VERSION)


def read_tape(path: Path) -> Tape:
    """Read and check a tape file; TapeError names the file."""
    if is_absmax(path):
        raise TapeError(
            f"{path}: the tape of a published checkpoint (absmax arithmetic), which the accelerator"
            " does not have yet: `mmfree inspect`, `generate` and `evaluate` take it, with backend"
            " golden"
        )
    try:
        return decode_tape(path.read_bytes())
    except FileNotFoundError:
        raise TapeError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TapeError(f"{path}: a folder, not a tape file") from None
    except TapeError as error:
        raise TapeError(f"{path}: {error}") from error
