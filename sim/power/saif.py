"""Reading SAIF: how often every net of a simulation changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmfree.errors import InputError

_INSTANCE = re.compile(r"\s*\(INSTANCE (\S+)")
_NET = re.compile(r"\s*\((\S+?)(?:\\\[\d+\\\])* \(T0 .*\(T1 (\d+)\).*\(TC (\d+)\)\)")
_DURATION = re.compile(r"\(DURATION (\d+)\)")
_TIMESCALE = re.compile(r"\(TIMESCALE 1ps\)")


@dataclass(frozen=True)
class NetToggles:
    """A net, bits of one name together.

    ``scope``: names of instances from the top down. ``toggles``: how often the bits changed.
    ``high_ps``: for how long they were 1, of all bits together.
    """

    scope: tuple[str, ...]
    name: str
    bits: int
    toggles: int
    high_ps: int = 0


def read_saif(path: Path) -> tuple[int, list[NetToggles]]:
    """Duration in picoseconds, and every net.

    Raises
    ------
    InputError
        If the file is not SAIF with a time scale of 1 ps, or ends early.
    """
    duration, scaled, nets = None, False, []
    with path.open(encoding="utf-8") as file:
        for kind, net in _parse(file):
            if isinstance(net, NetToggles):
                nets.append(net)
            elif kind == "duration":
                duration = net
            else:
                scaled = True
    if duration is None or not scaled:
        raise InputError(f"{path}: not a SAIF file with a time scale of 1 ps")
    return duration, nets


def _parse(lines: Iterator[str]) -> Iterator[tuple[str, NetToggles | int]]:
    stack: list[tuple[str, int]] = []
    depth = 0
    name, bits, toggles, high = "", 0, 0, 0
    for line in lines:
        if (net := _NET.match(line)) is not None:
            if bits and net[1] == name:
                bits, high, toggles = bits + 1, high + int(net[2]), toggles + int(net[3])
                continue
            if bits:
                yield (
                    "net",
                    NetToggles(
                        tuple(scope for scope, _ in stack), _plain(name), bits, toggles, high
                    ),
                )
            name, bits, high, toggles = net[1], 1, int(net[2]), int(net[3])
            continue
        if bits:
            yield (
                "net",
                NetToggles(tuple(scope for scope, _ in stack), _plain(name), bits, toggles, high),
            )
            bits = 0
        if (instance := _INSTANCE.match(line)) is not None:
            stack.append((_plain(instance[1]), depth))
        elif (found := _DURATION.match(line)) is not None:
            yield "duration", int(found[1])
        elif _TIMESCALE.match(line):
            yield "timescale", 0
        depth += line.count("(") - line.count(")")
        while stack and depth <= stack[-1][1]:
            stack.pop()
    if depth:
        raise InputError("SAIF: the file ends early")


def _plain(name: str) -> str:
    return name.replace("\\", "")
