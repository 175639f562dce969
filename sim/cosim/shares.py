"""A run cut into shares, each for a simulator of its own, and what came out of them joined.

A share begins with the state that the golden model has there, and ends by giving its own: so if all
are bit-exact, the chip that plays them one after another is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from itertools import pairwise

from sim.cosim.run_folder import Result, Run, Sequence
from sim.cosim.verdict import Played, join

LONG_CYCLES = 4_000_000
"""Cycles from which on a run is worth a simulator for each core: some seconds."""


@dataclass(frozen=True)
class Piece:
    """Positions of a sequence that one share plays, and what must come out of them.

    ``number``: of the sequence. ``first``: of the positions. ``ends``: the sequence ends with it.
    """

    number: int
    first: int
    ends: bool
    sequence: Sequence
    due: Played


@dataclass(frozen=True)
class Share:
    """Pieces of a run, in the order of the run."""

    pieces: list[Piece]

    @property
    def due(self) -> list[Played]:
        """What must come out of it."""
        return [piece.due for piece in self.pieces]

    @property
    def positions(self) -> int:
        """Tokens that it plays."""
        return sum(due.positions for due in self.due)

    @property
    def place(self) -> str:
        """Where it begins, in words."""
        return f"sequence {self.pieces[0].number}, position {self.pieces[0].first}"


def number_of_shares(run: Run, due: Items[Played]) -> int:
    """As many as there are cores, if a run is long; 1 if it is not, or a waveform is recorded."""
    positions = sum(each.positions for each in due)
    # A word is taken in a cycle, and hardly a cycle passes without one.
    if run.waveform_bytes or positions * run.design.weight_words < LONG_CYCLES:
        return 1
    return min(positions, _cores())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cut_run(run: Run, due: Items[Played], number: int) -> list[Share]:
    """At most ``number`` shares of about as many positions.

    A sequence of which tokens are drawn stays whole: where its noise is, no host can say.
    """
    total = sum(each.positions for each in due)
    bounds = sorted({total * share // number for share in range(number)})
    shares: list[list[Piece]] = [[] for _ in bounds]
    start = 0
    for count, (sequence, each) in enumerate(zip(run.sequences, due, strict=True)):
        end = start + each.positions
        inner = [bound for bound in bounds if start < bound < end and not sequence.temperature]
        for low, high in pairwise([start, *inner, end]):
            share = max(n for n, bound in enumerate(bounds) if bound <= low)
            shares[share].append(_piece(count, sequence, each, low - start, high - start))
        start = end
    return [Share(pieces) for pieces in shares if pieces]


def _piece(number: int, sequence: Sequence, due: Played, first: int, end: int) -> Piece:
    """Positions ``first`` to ``end`` - 1 of a sequence."""
    ends = end == due.positions
    if first == 0 and ends:
        return Piece(number, first, ends, sequence, due)
    arrays = {kind: values[first:end].copy() for kind, values in due.arrays().items()}
    # The last request of a piece ends with it.
    arrays["last"][-1] = True
    arrays["final"] = due.states[end - 1 : end]
    final = len(sequence.prompt) - 1
    tokens = [*sequence.prompt, *due.rows[final:-1].tolist()]
    asked = replace(
        sequence, prompt=tokens[first:end], state=due.states[first - 1] if first else sequence.state
    )
    if end <= final:
        asked = replace(asked, generate=0, stop=None)
    else:
        # From its last given token on, a piece chooses what is fed back.
        given = max(final, first)
        chosen = sequence.generate - (given - final) if ends else end - given
        asked = replace(asked, prompt=tokens[first : given + 1], generate=chosen)
    return Piece(number, first, ends, asked, Played(**arrays))


def join_due(shares: Iterable[Share]) -> list[Played]:
    """What must come out of a run that is played in shares, sequence by sequence."""
    return _join((piece, piece.due) for share in shares for piece in share.pieces)


def join_outcomes(
    shares: Items[Share], outcomes: Items[tuple[Result, list[Played]]]
) -> tuple[Result, list[Played]]:
    """What a run reports that is played in shares: up to the first difference, as if by one."""
    joined: Result | None = None
    played: list[tuple[Piece, Played]] = []
    for share, (result, came) in zip(shares, outcomes, strict=True):
        played += zip(share.pieces, came, strict=False)
        joined = result if joined is None else _add(joined, result)
        if result.divergence is not None:
            piece = share.pieces[result.divergence["sequence"]]
            joined.divergence = result.divergence.copy()
            joined.divergence["sequence"] = piece.number
            joined.divergence["position"] += piece.first
            break
    assert joined is not None, "there is no run without a share"
    return joined, _join(iter(played))


def _join(parts: Iterator[tuple[Piece, Played]]) -> list[Played]:
    """Sequences of pieces; a state within a sequence is not that after it."""
    sequences: dict[int, list[Played]] = {}
    for piece, values in parts:
        kept = values if piece.ends else replace(values, final=values.final[:0])
        sequences.setdefault(piece.number, []).append(kept)
    return [join(pieces) for pieces in sequences.values()]


def _add(a: Result, b: Result) -> Result:
    """Of two shares that ran beside each other."""
    profile, ports = a.profile, a.ports
    if profile is not None and b.profile is not None:
        profile = {name: _sums(profile[name], b.profile[name]) for name in profile}
    if ports is not None and b.ports is not None:
        ports = [_sums(*both) for both in zip(ports, b.ports, strict=True)]
    return Result(
        cycles=a.cycles + b.cycles,
        counters=_sums(a.counters, b.counters),
        seconds=max(a.seconds, b.seconds),
        simulated_cycles=a.simulated_cycles + b.simulated_cycles,
        profile=profile,
        ports=ports,
    )


def _sums(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {name: a[name] + b[name] for name in a}
