"""Requests to stop: Ctrl-C and SIGTERM, noted until a run can be saved."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass
class StopRequest:
    """``signal``: the one that has come; 0 before."""

    signal: int = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block the first SIGINT or SIGTERM is only noted; the next acts as it did before.

    Outside the main thread, where Python takes no signals, nothing is noted.
    """
    request = StopRequest()
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        before.clear()

    def note(number: int, _: FrameType | None) -> None:
        restore()
        request.signal = number
        # Whoever asked may have closed the terminal.
        with suppress(OSError, ValueError):
            print("\nstopping after this step, and saving ...", file=sys.stderr, flush=True)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
