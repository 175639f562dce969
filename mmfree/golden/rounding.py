"""What both golden models share: rounding, the trace of intermediates, playing one sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Trace = Callable[[str, NDArray[Any]], None]
"""Called with the name and the values [B, n] of an intermediate."""

_State = TypeVar("_State", bound=NDArray[np.signedinteger[Any]])


class PlaysTokens(Protocol[_State]):
    """A golden model, for B independent sequences at a time."""

    saturations: dict[str, int]
    """Values that were clamped, by site, since ``reset_counters``."""

    def reset_counters(self) -> None:
        """Set every saturation counter to 0."""
        ...

    @property
    def fraction_bits(self) -> int:
        """A logit v stands for v / 2^fraction_bits nats."""
        ...

    def state(self, batch: int = 1) -> _State:
        """State at the start of a sequence: zeros, [L, batch, d]."""
        ...

    def step(
        self, tokens: NDArray[np.integer], state: _State, trace: Trace | None = None
    ) -> tuple[NDArray[np.signedinteger[Any]], _State]:
        """Logits [B, rows] of one token of each sequence, and the new state."""
        ...


def round_shift(p: NDArray[Any], n: NDArray[Any] | int) -> NDArray[Any]:
    """rnd(p, n) of docs/arithmetic.md, 1: p / 2^n, halves up."""
    return (p + ((1 << np.asarray(n)) >> 1).astype(p.dtype)) >> n


def ignore_trace(name: str, values: NDArray[Any]) -> None:
    """A trace of nothing."""


def play_sequence(
    golden: PlaysTokens[_State],
    tokens: Sequence[int] | NDArray[np.integer],
    state: _State | None,
) -> NDArray[Any]:
    """Logits [T, rows] of one sequence; no state: from its start."""
    state = golden.state(1) if state is None else state
    logits = []
    for token in tokens:
        row, state = golden.step(np.array([token]), state)
        logits.append(row[0])
    return np.stack(logits)
