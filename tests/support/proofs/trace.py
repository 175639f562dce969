"""What a solver's trace shows: what it breaks, what it reaches, and the last cycles in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vcd.reader import TokenKind, tokenize

from tests.support.proofs.bench import Bench

LAST_CYCLES = 8
"""Cycles that a counterexample shows."""

Trace = Mapping[tuple[str, str], list[int]]
"""Values by scope and name, one for each cycle."""


def uncovered(bench: Bench, traces: Path) -> str:
    """What none of the traces reaches."""
    found = [read_trace(path) for path in traces.glob("trace*.vcd")]
    return "; ".join(
        words
        for n, words in enumerate(bench.covers)
        if not any(any(values["top", f"cover_{n}"]) for values in found)
    )


def broken_properties(bench: Bench, values: Trace) -> list[str]:
    """The sentences that do not hold in a trace's last cycle."""
    return [
        words for n, words in enumerate(bench.properties) if values["top", f"property_{n}"][-1] == 0
    ]


def counterexample(bench: Bench, waveform: Path) -> str:
    """The properties that a trace breaks; what is not 0 in the block in its last cycles, in hex."""
    values = read_trace(waveform)
    broken = [f"breaks: {words}" for words in broken_properties(bench, values)]
    broken += [
        f"breaks the lemma at {place}"
        for n, place in enumerate(bench.lemmas)
        if values["top", f"lemma_{n}"][-1] == 0
    ]
    cycles = len(values["top", "property_0"])
    shown = range(max(0, cycles - LAST_CYCLES), cycles)
    # It is "block$84" where the bench looks at a signal "block" in it.
    ports = {
        name: row
        for (scope, name), row in values.items()
        if scope.split("$")[0] == "top.block" or (scope == "top" and name in bench.chosen)
    }
    rows = [("cycle", *map(str, shown))]
    for name, row in sorted(ports.items()):
        if name != "clk" and not name.startswith("$") and any(row[n] for n in shown):
            rows.append((name, *(f"{row[n]:x}" for n in shown)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([*broken, *lines])


def read_trace(path: Path) -> Trace:
    """A waveform of smtbmc, in which a cycle takes 10 units of time."""
    names: dict[str, list[tuple[str, str]]] = {}
    scopes: list[str] = []
    now: dict[str, int] = {}
    rows: dict[str, list[int]] = {}
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                name = (".".join(scopes), token.var.reference)
                names.setdefault(token.var.id_code, []).append(name)
            elif token.kind is TokenKind.CHANGE_TIME:
                # The clock falls between two cycles.
                if token.time_change % 10 == 0 and token.time_change > 0:
                    for code in names:
                        rows.setdefault(code, []).append(now.get(code, 0))
            elif token.kind is TokenKind.CHANGE_SCALAR:
                now[token.scalar_change.id_code] = _number(token.scalar_change.value)
            elif token.kind is TokenKind.CHANGE_VECTOR:
                now[token.vector_change.id_code] = _number(token.vector_change.value)
    return {name: rows[code] for code, found in names.items() for name in found}


def _number(value: int | str) -> int:
    """Of a value with unknown bits, which no property depends on, those are 0."""
    return value if isinstance(value, int) else int(re.sub("[^01]", "0", value), 2)
