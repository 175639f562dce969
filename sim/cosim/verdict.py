"""The verdict of a comparison: how much had to be compared, how much was, and what differed."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.contract.shape import AnyConfig

KINDS = {
    "rows": "chosen rows",
    "last": "flags of a last token",
    "logits": "logits",
    "states": "state words",
    "saturations": "saturation counters",
    "final": "state words after a sequence",
}
"""What is compared, and its name for people."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A sequence of T positions: what must come out of it, or what came out.

    ``rows``: int64 [T], chosen; ``last``: bool [T], of a request; ``logits``: int32 [T, rows of the
    head]; ``states``: int32 [T, L, w], after each position; ``saturations``: int64 [T, sites], 0 at
    those that an arithmetic does not have; ``final``: int32 [1, L, w], the state after the
    sequence, [0, L, w] before it has ended.
    """

    rows: NDArray[np.int64]
    last: NDArray[np.bool_]
    logits: NDArray[np.int32]
    states: NDArray[np.int32]
    saturations: NDArray[np.int64]
    final: NDArray[np.int32]

    @classmethod
    def nothing(cls, config: AnyConfig) -> Played:
        """No position."""
        state = (0, config.num_layers, config.state_width)
        return cls(
            rows=np.empty(0, dtype=np.int64),
            last=np.empty(0, dtype=np.bool_),
            logits=np.empty((0, config.head_size), dtype=np.int32),
            states=np.empty(state, dtype=np.int32),
            saturations=np.empty((0, len(SATURATION_SITES)), dtype=np.int64),
            final=np.empty(state, dtype=np.int32),
        )

    @classmethod
    def position(
        cls,
        *,
        row: int,
        last: bool,
        logits: NDArray[np.integer],
        state: NDArray[np.integer],
        saturations: dict[str, int],
    ) -> Played:
        """One position: logits [rows], state [L, w], saturations by site, all of them."""
        return cls(
            rows=np.array([row], dtype=np.int64),
            last=np.array([last]),
            logits=logits[None].astype(np.int32),
            states=state[None].astype(np.int32),
            saturations=np.array([[saturations[site] for site in SATURATION_SITES]]),
            final=np.empty((0, *state.shape), dtype=np.int32),
        )

    @classmethod
    def end(cls, config: AnyConfig, state: NDArray[np.integer]) -> Played:
        """No position, but the state [L, w] after the sequence."""
        return cls(**cls.nothing(config).arrays() | {"final": state[None].astype(np.int32)})

    @property
    def positions(self) -> int:
        """T."""
        return len(self.rows)

    def part(self, position: int) -> Played:
        """One position of it."""
        return Played(
            **{
                kind: values[:0] if kind == "final" else values[position : position + 1]
                for kind, values in self.arrays().items()
            }
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Kind (of KINDS) -> its values."""
        return {
            "rows": self.rows,
            "last": self.last,
            "logits": self.logits,
            "states": self.states,
            "saturations": self.saturations,
            "final": self.final,
        }


def join(parts: Items[Played]) -> Played:
    """Parts of a sequence, one after another; at least one."""
    arrays = [part.arrays() for part in parts]
    return Played(**{kind: np.concatenate([each[kind] for each in arrays]) for kind in KINDS})


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value that is not what it must be; ``expected`` or ``got`` is None if there is none."""

    kind: str
    index: int
    expected: int | None
    got: int | None

    @property
    def name(self) -> str:
        """What differs: a counter by its own name, else a kind."""
        if self.kind == "saturations":
            return f"saturated_{SATURATION_SITES[self.index % len(SATURATION_SITES)]}"
        return self.kind


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Numbers of values by kind: due (known beforehand), compared, and of these different.

    ``differing`` also counts values that are not due at all.
    """

    due: dict[str, int]
    compared: dict[str, int]
    differing: dict[str, int]

    @property
    def bit_exact(self) -> bool:
        """Whether all that was due was compared, at least a position, and nothing differed."""
        return (
            self.due["rows"] > 0 and self.compared == self.due and not any(self.differing.values())
        )

    @property
    def missing(self) -> dict[str, int]:
        """Values by kind that were due and not compared, of kinds that lack any."""
        return {
            kind: due - self.compared[kind]
            for kind, due in self.due.items()
            if due > self.compared[kind]
        }

    def describe(self) -> str:
        """How much was compared, and of how much, in words."""
        due, compared = (
            sum(counts[kind] for kind in ("logits", "states"))
            for counts in (self.due, self.compared)
        )
        tokens = f"{self.due['rows']:,} tokens"
        if self.compared["rows"] != self.due["rows"]:
            tokens = f"{self.compared['rows']:,} of {tokens}"
        words = f"{tokens}, {compared:,} of {due:,} logits and state words compared"
        if differing := sum(self.differing.values()):
            words += f"; {differing:,} values differ"
        if missing := [
            f"{count:,} {KINDS[kind]}"
            for kind, count in self.missing.items()
            if kind not in ("logits", "states")
        ]:
            words += f"; not compared: {', '.join(missing)}"
        return words


def judge(expected: Items[Played], got: Items[Played]) -> Verdict:
    """Compare sequences, value by value, with what must come out of them."""
    due, compared, differing = (dict.fromkeys(KINDS, 0) for _ in range(3))
    for number in range(max(len(expected), len(got))):
        for kind in KINDS:
            wanted, found = _values(expected, number, kind), _values(got, number, kind)
            shared = min(len(wanted), len(found))
            due[kind] += len(wanted)
            compared[kind] += shared
            differing[kind] += int((wanted[:shared] != found[:shared]).sum())
            differing[kind] += len(found) - shared
    return Verdict(due=due, compared=compared, differing=differing)


def first_difference(expected: Played, got: Played) -> Difference | None:
    """The first value, kind after kind, that differs, is missing, or is not due."""
    for kind in KINDS:
        wanted, found = _values([expected], 0, kind), _values([got], 0, kind)
        shared = min(len(wanted), len(found))
        places = np.flatnonzero(wanted[:shared] != found[:shared])
        index = int(places[0]) if len(places) else shared
        if index < max(len(wanted), len(found)):
            return Difference(
                kind=kind,
                index=index,
                expected=int(wanted[index]) if index < len(wanted) else None,
                got=int(found[index]) if index < len(found) else None,
            )
    return None


def _values(sequences: Items[Played], number: int, kind: str) -> NDArray[Any]:
    """All values of a kind of a sequence, none if there is no such sequence."""
    if number >= len(sequences):
        return np.empty(0, dtype=np.int64)
    return sequences[number].arrays()[kind].ravel()
