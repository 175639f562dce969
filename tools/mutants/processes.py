"""Processes that end with all that they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock


class Ended(Exception):
    """No process begins any more."""


class Processes:
    """Those that run now, in any thread; none begins after ``end``.

    Each has a session of its own, so that control-C reaches none of them.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = Lock()
        self._ended = False

    @contextlib.contextmanager
    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[str]]:
        """A process whose output is read; it ends with the block."""
        with self._lock:
            if self._ended:
                raise Ended
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            self._running.add(process)
        with process:
            try:
                yield process
            finally:
                with self._lock:
                    self._running.discard(process)
                end(process)

    def end(self) -> None:
        """End all of them."""
        with self._lock:
            self._ended = True
            for process in self._running:
                end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End a process and what it has started.

    On Linux its descendants, in whatever session: simulators start their tools in new ones.
    Elsewhere only its own group. What has left the group and lost its parent goes on.
    """
    if sys.platform == "linux" and process.poll() is None:
        found: set[int] = set()
        # One that is stopped starts no others, so none escapes between the look and the kill.
        while new := _with_descendants(process.pid) - found:
            found |= new
            _send(new, signal.SIGSTOP)
        _send(found, signal.SIGKILL)
    if os.name == "posix":
        # macOS refuses where all have ended and nobody has waited for them.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _send(processes: set[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _with_descendants(process: int) -> set[int]:
    """The process and those below it, as /proc tells."""
    children = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        # It may end while we look.
        with contextlib.suppress(OSError):
            # pid (name, which may hold anything) state parent ...
            parent = path.read_text(errors="replace").rpartition(")")[2].split()[1]
            children[int(parent)].append(int(path.parent.name))
    found, queue = {process}, [process]
    while queue:
        below = children[queue.pop()]
        found.update(below)
        queue += below
    return found
