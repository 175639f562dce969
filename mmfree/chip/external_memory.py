"""External memories: how many ports a chip reads its image through, and how wide they are.

A byte holds five weights, one of each row of a group: a port of 128 bits feeds 5 rows x 16 columns
(docs/decisions/0022).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmfree.errors import InputError

BLOCK = "block"
"""Where a design has its weights, if not in an external memory: in block RAM."""

ADDRESS_BITS = 40
"""Bits of an address, in bytes."""

PAGE_BYTES = 4096
"""A region begins at a multiple of it, and no burst crosses one (AXI4)."""

ROW_BYTES = 64
"""A row of the embedding begins at a multiple of it."""

PORT_BITS = (64, 128, 256, 512)
MAX_PORTS = 32

GROUP_ROWS = 5
"""Rows of the array that a port feeds."""

_NAME = re.compile(r"axi([0-9]{1,9})(?:x([0-9]{1,9}))?")
_SIZE = re.compile(r"([0-9]{1,12})([KMG]?)")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, kw_only=True)
class ExternalMemory:
    """Ports of AXI4 through which the words of an image are read.

    ``port_bits``: of PORT_BITS. ``ports``: one for each group of rows, a power of two up to
    MAX_PORTS; one more, as wide, reads rows of the embedding.
    """

    port_bits: int
    ports: int

    @property
    def name(self) -> str:
        """As ``find_memory`` takes it."""
        return f"axi{self.port_bits}" + (f"x{self.ports}" if self.ports > 1 else "")

    @property
    def port_bytes(self) -> int:
        """Bytes of a beat: those of a tile, one for each column of the array."""
        return self.port_bits // 8

    @property
    def rows(self) -> int:
        """Rows of the array that it feeds."""
        return GROUP_ROWS * self.ports

    @property
    def columns(self) -> int:
        """Columns of the array that it feeds."""
        return self.port_bits // 8

    @property
    def lanes(self) -> int:
        """Lanes that it feeds: five for each byte of a beat."""
        return self.rows * self.columns


def find_memory(name: object) -> ExternalMemory | None:
    """The memory of a name: axi64, axi128x4 and the like; None for BLOCK.

    Raises
    ------
    InputError
        If there is none, or its ports cannot be built.
    """
    if name == BLOCK:
        return None
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InputError(
            f"memory {name!r} is unknown: {BLOCK}, or axi and the width of a port, with x and their"
            " number if there are several: axi64, axi128x4"
        )
    port_bits, ports = int(match[1]), int(match[2] or 1)
    if port_bits not in PORT_BITS:
        raise InputError(
            f"memory {name}: a port of {port_bits} bits does not divide into bytes of five rows for"
            f" a power of two of columns: use {', '.join(map(str, PORT_BITS))} bits"
        )
    if not 1 <= ports <= MAX_PORTS or ports & (ports - 1):
        raise InputError(
            f"memory {name}: the number of ports must be a power of two in 1..{MAX_PORTS}, got"
            f" {ports}"
        )
    return ExternalMemory(port_bits=port_bits, ports=ports)


def split_capacity(name: str) -> tuple[str, int | None]:
    """The name of a memory, and its size in bytes if one follows (axi128x4:64M): else None.

    Raises
    ------
    InputError
        If what follows is no size, or is that of block RAM.
    """
    name, colon, size = name.partition(":")
    if not colon:
        return name, None
    match = _SIZE.fullmatch(size)
    if match is None or not int(match[1]):
        raise InputError(
            f"memory {name}:{size}: a size is a number of bytes, above 0, or one with K, M or G"
            " (10^3, 10^6, 10^9): axi128x4:64M"
        )
    if name == BLOCK:
        raise InputError(f"memory {name}:{size}: block RAM has the image's size; leave it out")
    return name, int(match[1]) * _UNITS[match[2]]
