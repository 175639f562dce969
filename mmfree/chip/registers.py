"""The registers of a board as its host sees them: names, numbers, and the frames to access them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mmfree.errors import InputError

WORD_BITS, WORD_BYTES = 32, 4
"""Size of a register."""

WORD_MAX = (1 << WORD_BITS) - 1

MAX_REGISTERS = 127
"""Most registers to read, and most to write: a frame has seven bits for the number.

The last number is LOST, which none has.
"""

LOST = 127
"""Number that ``refused`` tells of if a byte from the host was lost."""

WRITE_FLAG = 0x80
"""Bit of a frame's first byte: the frame writes."""


class Access(StrEnum):
    """What a host does with a port of a component, or with a register."""

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

    CLEAR = "clear"
    """Writes anything, and the register to read of the same name is 0. No port has it."""


def check_value(name: str, value: int, largest: int) -> None:
    """Refuse a value that does not lie in 0..largest.

    Raises
    ------
    InputError
        It names the value and its limits.
    """
    if not 0 <= value <= largest:
        raise InputError(f"{name} must lie in 0..{largest}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Register:
    """A value of a RegisterMap, which may take several registers, or share one.

    Parameters
    ----------
    name
        Of a port of the component, with dots: ``load.word``. Of a stream it is written to send or
        take, ``.payload`` added to it is the payload, and ``.waiting`` (to send) or ``.valid`` (to
        take) whether there is one. Each field of a struct that is written is a value of its own;
        its name follows: ``request.payload.limit``.
    access
        What writing or reading it does.
    numbers
        Registers that hold the value, the first of them its lowest bits.
    bits, offset
        Width of the value, and its lowest bit in these registers.
    largest
        Its largest value; a larger one is refused, by ``write_frames`` and by the chip.
    fields
        Of a struct that is read: name -> (first bit, bits).
    """

    name: str
    access: Access
    numbers: tuple[int, ...]
    bits: int
    largest: int
    offset: int = 0
    fields: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def largest_words(self) -> tuple[int, ...]:
        """The largest word of each of ``numbers``; all but the last take any."""
        return tuple(min(WORD_MAX, self.largest >> WORD_BITS * n) for n in range(len(self.numbers)))

    def write_frames(self, value: int = 0) -> bytes:
        """What a host sends to write this register.

        Raises
        ------
        InputError
            If the value is out of range.
        """
        check_value(self.name, value, self.largest)
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

    def fields_of(self, answer: bytes) -> dict[str, int]:
        """The fields of a struct in the answer to ``read_frames``."""
        value = self.value_of(answer)
        return {
            name: value >> start & ((1 << bits) - 1) for name, (start, bits) in self.fields.items()
        }


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """Registers of a component by name: those to ``write`` and those to ``read``, numbered apart.

    Two are not the component's. ``identity`` is what the register to read of this name always
    holds: a host compares it first. ``refused`` is 0, or the first byte of the first frame that was
    refused since ``refused`` was written (``refused_name`` says of which register); until then no
    strobe or send is carried out.
    """

    write: dict[str, Register]
    read: dict[str, Register]
    identity: int

    def refused_name(self, value: int) -> str | None:
        """Name of the register that ``value`` of the register ``refused`` tells of."""
        if not value:
            return None
        number = value & ~WRITE_FLAG
        if number == LOST:
            return "a byte that was lost"
        found = (name for name, register in self.write.items() if number in register.numbers)
        return next(found, f"number {number}, which none has")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a ``largest`` of as many ones as there are bits is null.

        Few readers of JSON take integers of more than 53 bits exactly.
        """
        values = asdict(self)
        for register in (*values["write"].values(), *values["read"].values()):
            if register["largest"] == (1 << register["bits"]) - 1:
                register["largest"] = None
        return values
