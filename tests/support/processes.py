"""Processes of tests: whether one has ended, and what interrupts ourselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

PATIENCE = 30
"""Seconds: a machine may be busy."""


def is_running(process: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that ended, and that nobody has waited for, is there yet.
    return _state(process) != "Z"


def is_asleep(process: int) -> bool:
    """Whether it waits for something; where the system does not tell, True."""
    return _state(process) in ("S", None)


def _state(process: int) -> str | None:
    """The letter of Linux for what a process does; None elsewhere."""
    with suppress(OSError):
        text = Path(f"/proc/{process}/stat").read_text(errors="replace")
        return text.rpartition(")")[2].split()[0]
    return None


def becomes(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it does, soon enough."""
    deadline = monotonic() + seconds
    while not condition():
        if monotonic() > deadline:
            return False
        sleep(0.01)
    return True


@contextmanager
def interrupted_when(condition: Callable[[], bool]) -> Iterator[None]:
    """SIGINT to ourselves as soon as it holds, or never comes to hold; none once the block ends.

    As control-C: a later test would end with it.
    """
    over = Event()

    def interrupt() -> None:
        becomes(lambda: over.is_set() or condition())
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
