"""What a verb writes to stdout and stderr, whatever can be shown there."""

from __future__ import annotations

import io
import os
import sys

from mmfree.errors import InputError


def set_up_streams() -> None:
    """Let no character stop a verb that has done its work.

    A pipe or a file gets UTF-8, which is also what every verb reads, unless PYTHONIOENCODING asks
    for another encoding. Where that, or a terminal, does not have a character, it shows an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            own = stream.isatty() or bool(os.environ.get("PYTHONIOENCODING"))
            stream.reconfigure(
                encoding=None if own else "utf-8",
                errors="backslashreplace",
            )


def holds_every_text() -> bool:
    """Whether stdout takes text as it comes: a terminal, or UTF-8."""
    return sys.stdout.isatty() or _encoding().lower().replace("_", "-").startswith("utf")


def write_exactly(text: str) -> None:
    """Text that is a result by itself, not words about one: all of it on stdout, or nothing.

    Raises
    ------
    InputError
        If a pipe or a file, of the encoding that PYTHONIOENCODING asks for, cannot hold it.
    """
    if not sys.stdout.isatty():
        try:
            text.encode(_encoding())
        except UnicodeEncodeError as error:
            raise InputError(
                f"stdout is {_encoding()} (PYTHONIOENCODING), which has no"
                f" {text[error.start]!r}: set PYTHONIOENCODING=utf-8, or use --json"
            ) from None
    print(text, end="", flush=True)


def _encoding() -> str:
    return sys.stdout.encoding or "utf-8"
