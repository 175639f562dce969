"""The registers of a board as its host sees them: names, numbers, and the frames to access them."""

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
    """A value of a RegisterMap, which may take several registers, or share one.

    Parameters
    ----------
    name
        Of a port of the component.
    kind
        "value"; "flag" (to read; it shares its register with others); or, written with any value,
        "strobe" (a cycle of 1), "send" (the payload is offered until it is taken: one transfer) or
        "take" (what is offered is taken: one transfer).
    numbers
        Registers that hold the value, the first of them its lowest bits.
    bits, offset
        Width of the value, and its lowest bit in these registers.
    fields
        Of a struct: name -> (first bit, bits).
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
    """Registers of a component by name: those to ``write`` and those to ``read``, numbered apart.

    ``identity`` is what the read register of this name always holds: a host compares it first.
    """

    write: dict[str, Register]
    read: dict[str, Register]
    identity: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)
