"""Which part of a process's memory lies in huge pages, as Linux tells it."""

from __future__ import annotations

import re
from pathlib import Path

SMAPS = Path("/proc/self/smaps")

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ")
_HUGE = re.compile(r"AnonHugePages: +(\d+) kB")


def huge_share(address: int, size: int) -> float | None:
    """Share of ``size`` bytes at ``address`` in huge pages, 0..1; None where no system tells."""
    try:
        lines = SMAPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    huge, inside = 0, False
    for line in lines:
        if (mapping := _MAPPING.match(line)) is not None:
            begin, end = (int(word, 16) for word in mapping.groups())
            inside = begin < address + size and address < end
        elif inside and (found := _HUGE.match(line)) is not None:
            huge += int(found[1]) << 10
    return min(1.0, huge / size)
