"""What can go wrong that is not a bug of mmfree.

Its classes, and what the command line does with each.

Any other exception is a bug: its traceback is shown, and the exit code is 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given cannot be used: a file, an option, a model. One line, exit code 2.

    The message says what was required, what was got, and what to do.
    """


class ToolMissing(RuntimeError):
    """A program or package that is needed is not there. One line, exit code 2."""


class Stopped(RuntimeError):
    """A signal asked to stop, and what could be kept was kept. Exit code 128 + ``signal``."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class CheckFailed(RuntimeError):
    """Something was checked, and did not hold: a chip that differs or hangs. Exit code 1."""


def not_one_of(what: str, got: object, names: Iterable[str]) -> InputError:
    """The error for a name that is looked up and not found, and the name that may be meant.

    ``what``: the option, or the file and field, that must be one of ``names``.
    """
    known = tuple(names)
    message = f"{what} must be one of {', '.join(known)}, got {got!r}"
    return InputError(message + did_you_mean(got, known))


def did_you_mean(got: object, names: Iterable[str]) -> str:
    """The end of a message about ``got``: the nearest of ``names``, or nothing if none is near.

    What comes from a file may be no name at all.
    """
    by_folded = {name.casefold(): name for name in names}
    word = got.casefold() if isinstance(got, str) else ""
    near = difflib.get_close_matches(word, by_folded, n=1)
    return f"; did you mean {by_folded[near[0]]}?" if near else ""
