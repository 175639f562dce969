"""What can go wrong that is not a bug of mmfree.

Its classes, and what the command line does with each.

Any other exception is a bug: its traceback is shown, and the exit code is 3.
"""

from __future__ import annotations


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
