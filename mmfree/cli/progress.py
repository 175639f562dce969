"""What takes a while, named on stderr: stages that have no count, and how long each has taken."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

from mmfree.report.numbers import duration

_TICK_S, _THREAD = 1.0, "mmfree stage"


class Stages:
    """Stages one after another, each named when it begins: a function of their names.

    A line on stderr for each. In a terminal it also counts the seconds while the stage lasts, and
    keeps them when the next one begins or the block ends.

        with Stages() as say:
            say("synthesizing 64 lanes")
            ...
            say("placing and routing")
    """

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._name = ""
        self._began = 0.0
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def __call__(self, name: str) -> None:
        """Begin a stage; the one before it is over."""
        self._end()
        if not self._watched:
            print(f"{name} ...", file=sys.stderr, flush=True)
            return
        self._name, self._began = name, time.monotonic()
        self._over = threading.Event()
        self._ticker = threading.Thread(
            target=self._tick, args=(self._over,), name=_THREAD, daemon=True
        )
        self._ticker.start()

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        """Stop the count of the present stage, and leave its line as it is."""
        if self._ticker is None:
            return
        self._over.set()
        self._ticker.join()
        self._ticker = None

    def _tick(self, over: threading.Event) -> None:
        # A bar without a length: tqdm moves it out of the way of what else is written.
        with tqdm(desc=f"{self._name} ...", bar_format="{desc}", leave=True) as line:
            while True:
                done = over.wait(_TICK_S)
                line.set_description_str(f"{self._name} ... {duration(self._elapsed())}")
                if done:
                    return

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


@contextmanager
def stage(name: str) -> Iterator[None]:
    """One stage, as long as the block lasts."""
    with Stages() as say:
        say(name)
        yield
