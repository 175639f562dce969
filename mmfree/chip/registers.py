"""The registers of a board as its host sees them.

Names, numbers, and the frames that write and read them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

WORD_BITS, WORD_BYTES = 32, 4
"""Size of a register."""


MAX_REGISTERS = 128
"""Most registers to read, and most to write: a frame has seven bits for the number."""


WRITE_FLAG = 0x80
"""Bit of a frame's first byte: the frame writes."""


@dataclass(frozen=True, kw_only=True)
class Register:
    """A name of a RegisterMap.

    ``bits`` from bit ``offset`` of the registers ``numbers``, the first of which holds the lowest
    bits. ``kind``: "value"; "flag" (read; shares its register with others); or, written with any
    value, "strobe" (a cycle of 1), "send" (the payload is offered until it is taken: one transfer)
    and "take" (what is offered is taken: one transfer). ``fields`` of a struct: name -> (first bit,
    bits).
    """

    name: str
    kind: str
    numbers: tuple[int, ...]
    bits: int
    offset: int = 0
    fields: dict[str, tuple[int, int]] = field(default_factory=dict)

    def write_frames(self, value: int) -> bytes:
        """What a host sends to write this register."""
        words = value.to_bytes(WORD_BYTES * len(self.numbers), "little")
        return b"".join(
            bytes([WRITE_FLAG | number]) + words[WORD_BYTES * n :][:WORD_BYTES]
            for n, number in enumerate(self.numbers)
        )

    def read_frames(self) -> bytes:
        """What a host sends to read this register."""
        return bytes(self.numbers)

    def value_of(self, answer: bytes) -> int:
        """The value in the answer to ``read_frames``: WORD_BYTES for each frame."""
        return int.from_bytes(answer, "little") >> self.offset & ((1 << self.bits) - 1)


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """Registers of a component by name.

    Those to ``write`` and those to ``read``, which are numbered apart. ``identity`` is the value of
    the read register of this name.
    """

    write: dict[str, Register]
    read: dict[str, Register]
    identity: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)
