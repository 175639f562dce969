"""RTLIL's memories: what a read gives of a word that is written at the same clock edge."""

from __future__ import annotations

import re
from collections.abc import Collection

_READ_CELL = re.compile(r"^ *cell \$memrd_v2 .*?^ *end$", re.MULTILINE | re.DOTALL)
_MEMID = re.compile(r'parameter \\MEMID "\\\\([^"]*)"')
_TRANSPARENCY = re.compile(r"parameter \\TRANSPARENCY_MASK \d+'([01]*)")
_COLLISION = re.compile(r"(parameter \\COLLISION_X_MASK \d+)'[01]*")


def allow_collisions(rtlil_text: str, memories: Collection[str]) -> str:
    """RTLIL in which a read of a word that is written at the same edge may give anything, at each synchronous read port of the named memories.

    Amaranth promises the old word, which block RAMs do not give between ports: Yosys then compares the addresses and keeps the old word beside
    them. Legal only where no word is read while it is written. A read port that is transparent for a write port stays so.

    Parameters
    ----------
    memories
        Names, each of one memory or of several; of a flattened design, the last part of their paths.

    Raises
    ------
    ValueError
        If the text has no read port of a named memory.
    """
    seen: set[str] = set()

    def relaxed(cell: re.Match[str]) -> str:
        text = cell.group()
        memory_id = _MEMID.search(text)
        assert memory_id is not None, f"a read port without a memory: {text}"
        name = memory_id.group(1).rpartition(".")[2]
        if name not in memories:
            return text
        seen.add(name)
        transparency = _TRANSPARENCY.search(text)
        assert transparency is not None, f"a read port without TRANSPARENCY_MASK: {text}"
        mask = transparency.group(1).translate(str.maketrans("01", "10"))
        return _COLLISION.sub(rf"\g<1>'{mask}", text)

    relaxed_text = _READ_CELL.sub(relaxed, rtlil_text)
    if missing := sorted(set(memories) - seen):
        raise ValueError(
            f"the RTLIL has no read port of the memories {', '.join(missing)}: give the names of memories that are read"
        )
    return relaxed_text
