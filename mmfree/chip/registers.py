"""The registers of a board as its host sees them: names, numbers, and the frames to access them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

WORD_BITS, WORD_BYTES = 32, 4
"""Size of a register."""

MAX_REGISTERS = 128
"""Most registers to read, and most to write: a frame has seven bits for the number."""

WRITE_FLAG = 0x80
"""Bit of a frame's first byte: the frame writes."""


class Access(StrEnum):
    """What a host does with a port of a component."""

    READ = "read"
    """Reads an output, as it is."""

    FLAG = "flag"
    """Reads an output of one bit, in a register that it shares with others."""

    WRITE = "write"
    """Writes an input, which keeps what was written last."""

    STROBE = "strobe"
    """Writes anything, and an input of one bit is 1 for a cycle."""

    SEND = "send"
    """Writes anything, and a stream in offers its payload until it is taken: one transfer."""

    TAKE = "take"
    """Writes anything, and what a stream out offers is taken: one transfer."""


@dataclass(frozen=True, kw_only=True)
class Register:
    """A value of a RegisterMap, which may take several registers, or share one.

    Parameters
    ----------
    name
        Of a port of the component, with dots: ``load.word``. Of a stream it is written to send or
        take, ``.payload`` added to it is the payload, and ``.waiting`` (to send) or ``.valid`` (to
        take) whether there is one.
    access
        What writing or reading it does.
    numbers
        Registers that hold the value, the first of them its lowest bits.
    bits, offset
        Width of the value, and its lowest bit in these registers.
    fields
        Of a struct: name -> (first bit, bits).
    """

    name: str
    access: Access
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
