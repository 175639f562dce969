"""Pins of a simulated chip without a simulator: what stands where a testbench waits for edges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest


class EndOfCyclesError(Exception):
    """Nothing more happens."""


class Pins:
    """Pins of a chip that holds still but for ``answers``: what it does at an edge, by its number.

    Edges are counted from 1. ``seen``: what each pin showed at every edge that was waited for.
    ``before``: what is done before an edge. ``last``: after that edge nothing more happens.
    """

    def __init__(self, *, last: int | None = None) -> None:
        self.seen: list[dict[str, int]] = []
        self.answers: dict[int, Mapping[str, int]] = {}
        self.before: dict[int, Callable[[], object]] = {}
        self._last = last
        self._pins: dict[str, SimpleNamespace] = {}

    @classmethod
    def scripted(cls, cycles: Sequence[Mapping[str, int]]) -> Pins:
        """Pins that show these values one after another; 0 where a cycle says nothing."""
        pins = cls(last=len(cycles))
        silent = {name: 0 for cycle in cycles for name in cycle}
        pins.answers = {n: silent | dict(cycle) for n, cycle in enumerate(cycles, start=1)}
        return pins

    def __getattr__(self, name: str) -> SimpleNamespace:
        made = SimpleNamespace(value=0, value_change=self.edge())
        return self._pins.setdefault(name, made)

    def edge(self, clock: object = None) -> Any:
        """Waits for the next edge."""

        class Edge:
            def __await__(edge) -> Iterator[None]:
                number = len(self.seen) + 1
                if self._last is not None and number > self._last:
                    raise EndOfCyclesError
                self.before.get(number, lambda: None)()
                self.seen.append({name: pin.value for name, pin in self._pins.items()})
                for name, value in self.answers.get(number, {}).items():
                    getattr(self, name).value = value
                return iter(())

        return Edge()

    def column(self, name: str) -> list[int]:
        """A pin over time."""
        return [seen.get(name, 0) for seen in self.seen]


def until_the_end(task: Any) -> None:
    """Run a task that never ends by itself."""
    with pytest.raises(EndOfCyclesError):
        asyncio.run(task)
