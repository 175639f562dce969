"""Threads of torch's operations on a CPU: how they wait, and how many there are.

The result of a training step depends on the number of threads, in its last bits: sums are cut among
them. So a run has one number from its first step to its last, chosen by measuring before it begins,
and its checkpoint says which. Chosen again and again is how threads wait for each other at the end
of an operation, which changes no bit: spinning for long is the fastest on an idle machine, and
many times slower on a busy one, where it burns the time slices of the thread that is waited for.

OpenMP (GNU's, torch's on Linux) reads how long threads spin once, but spins briefly while it has
more threads than there are processors. So threads of a second team, which do nothing, are what
makes the others wait briefly, for as long as they are there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

_SPINS = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"}
"""What OpenMP is told: to spin for some milliseconds, as it does by itself, and 1,000 times instead
of 100 where that is to be brief.
"""

_THREADS = "OMP_NUM_THREADS"

TRIAL_SECONDS, TRIAL_SHARE = 5.0, 0.03
"""Shortest time between two looks at the other way to wait, and their share of the time."""

_MUCH_SLOWER = 1.3
"""A step that takes so many times what one of the other way took asks for a look at once."""

LOOKS, LOOK_SECONDS, NEARLY = 3, 5.0, 1.1
"""Steps with each number of threads before a run begins, or fewer if they take longer than this; of
those that take nearly as long as the fastest the fewest threads are taken.
"""

_PARALLEL = 1 << 18
"""Elements of a tensor that torch certainly cuts among threads."""


def prepare_waiting() -> None:
    """Tell OpenMP how long threads may spin, unless the environment does; before torch is imported.

    Without it ``Waiting`` has a little less effect.
    """
    if not _is_said():
        os.environ.update(_SPINS)


def _is_said() -> bool:
    """Whether the user has said how threads wait."""
    said = {name: os.environ[name] for name in _SPINS if name in os.environ}
    return bool(said) and said != _SPINS


def threads_asked_for() -> str:
    """What the environment says of the number of threads; "" if it leaves that to torch."""
    return os.environ.get(_THREADS, "")


@contextmanager
def as_many_threads(number: int) -> Iterator[None]:
    """Within the block torch's operations have this many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest_number(step: Callable[[], object]) -> int:
    """Threads with which ``step`` is fastest now: torch's number, half of it, or one.

    One beside other work that keeps the processors busy. What the environment asks for stays.
    """
    import torch

    most = torch.get_num_threads()
    if threads_asked_for() or most == 1:
        return most
    step()  # the first one is slow for reasons of its own
    began = time.monotonic()
    taken = dict.fromkeys(sorted({1, max(1, most // 2), most}), 0.0)
    for _ in range(LOOKS):
        for number in taken:
            with as_many_threads(number):
                before = time.monotonic()
                step()
                taken[number] += time.monotonic() - before
        if time.monotonic() - began > LOOK_SECONDS:
            break
    return next(number for number in taken if taken[number] <= NEARLY * min(taken.values()))


class Waiting:
    """Chooses, by the time that steps take, whether threads wait briefly or spin for long.

    A context: afterwards they spin, as they did. A run begins briefly. A look at the other way is
    one step; the faster of the two stays. Looks come every TRIAL_SECONDS, or as much more rarely as
    they take TRIAL_SHARE of the time; at once if a step that spins takes far longer than a brief
    one did. A look at spinning ends within the step, once that has taken as long as a brief one.

    Parameters
    ----------
    device
        Type of the device that computes: there is nothing to choose but on a CPU.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.chooses = device == "cpu" and torch.get_num_threads() > 1 and not _is_said()
        self.brief = False
        self._known: dict[bool, float] = {}
        self._looks, self._looked_at, self._next, self._warm = False, False, 0.0, False
        self._end = threading.Event()
        self._crowd: threading.Thread | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self.chooses:
            self._switch(brief=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_timer()
        self._switch(brief=False)

    def step_took(self, seconds: float, now: float) -> None:
        """Take note of a step, and choose for the next one. ``now``: of a clock, in seconds."""
        if not self.chooses:
            return
        if not self._warm:  # the first step of all is slow for reasons of its own
            self._warm = True
            return
        if self._looks:
            self._stop_timer()
            self._known[self._looked_at], self._looks = seconds, False
            self._next = now + max(TRIAL_SECONDS, seconds / TRIAL_SHARE)
            other = self._known[not self._looked_at]
            self._switch(brief=self._looked_at if seconds <= other else not self._looked_at)
            return
        before, of_other = self._known.get(self.brief), self._known.get(not self.brief)
        self._known[self.brief] = seconds if before is None else 0.7 * before + 0.3 * seconds
        lost = not self.brief and of_other is not None and seconds > _MUCH_SLOWER * of_other
        if of_other is None or lost or now >= self._next:
            self._looks, self._looked_at = True, not self.brief
            if self.brief:
                self._timer = threading.Timer(
                    self._known[True], self._switch, kwargs={"brief": True}
                )
                self._timer.daemon = True
            self._switch(brief=self._looked_at)
            if self._timer is not None:
                self._timer.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._timer = None

    def _switch(self, *, brief: bool) -> None:
        if brief and self._crowd is None:
            self._end.clear()
            ready = threading.Event()
            self._crowd = threading.Thread(target=self._stand_by, args=(ready,), daemon=True)
            self._crowd.start()
            ready.wait()
        elif not brief and self._crowd is not None:
            self._end.set()
            self._crowd.join()
            self._crowd = None
        self.brief = brief

    def _stand_by(self, ready: threading.Event) -> None:
        """Have a team of OpenMP's threads until the end."""
        import torch

        # A thread begins with OpenMP's own number.
        torch.set_num_threads(torch.get_num_threads())
        torch.ones(_PARALLEL).add_(1)
        ready.set()
        self._end.wait()
