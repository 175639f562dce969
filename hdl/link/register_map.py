"""The registers through which a host reaches a component, derived from the component's ports."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Member, Signature

from mmfree.chip.registers import MAX_REGISTERS, WORD_BITS, Register, RegisterMap
from mmfree.errors import InputError

STROBE_NAMES = ("abort", "_enable")
"""Endings of names: inputs of one bit with such a name are 1 for a cycle when they are written."""


def reachable(signature: Signature) -> dict[str, Member]:
    """The ports that a host reaches: all except ``tap_*`` and ``pause``, for simulation."""
    return {
        name: member
        for name, member in signature.members.items()
        if not name.startswith("tap_") and name != "pause"
    }


def register_map(signature: Signature, description: Any = None) -> RegisterMap:
    """Registers for the ports of a component.

    ``description`` (of JSON types) enters the identity, so that a host can tell builds apart.

    Input streams: ``NAME.payload``, and ``NAME`` to send it; ``NAME.waiting`` while it is not taken
    (writes to the payload are ignored then). Output streams: ``NAME.payload``, ``NAME.valid``, and
    ``NAME`` to take it. All one-bit outputs are flags. Several registers of one value are not read
    in one instant.

    Raises
    ------
    InputError
        If there are more than MAX_REGISTERS to read, or to write.
    """
    write, read = _Numbering(), _Numbering(first=1)  # read register 0: identity
    flags: list[str] = []
    for name, member in reachable(signature).items():
        is_input = member.flow == In
        if member.is_signature:
            assert isinstance(member.signature, stream.Signature)
            payload = member.signature.members["payload"].shape
            (write if is_input else read).add(f"{name}.payload", "value", payload)
            write.add(name, "send" if is_input else "take", 0)
            flags.append(f"{name}.waiting" if is_input else f"{name}.valid")
        elif is_input:
            strobe = name.endswith(STROBE_NAMES) and Shape.cast(member.shape).width == 1
            write.add(name, "strobe" if strobe else "value", member.shape)
        elif Shape.cast(member.shape).width == 1:
            flags.append(name)
        else:
            read.add(name, "value", member.shape)
    read.add_flags(flags)
    for direction, numbering in (("write", write), ("read", read)):
        if numbering.next > MAX_REGISTERS:
            raise InputError(
                f"a host would need {numbering.next} registers to {direction}, and a frame can name"
                f" {MAX_REGISTERS}: a smaller post_width (fewer lanes for the model's width) needs"
                " fewer"
            )
    told = [[asdict(r) for r in n.registers.values()] for n in (write, read)]
    identity = zlib.crc32(json.dumps([told, description], sort_keys=True).encode())
    read.registers["identity"] = Register(
        name="identity", kind="value", numbers=(0,), bits=WORD_BITS
    )
    return RegisterMap(write=write.registers, read=read.registers, identity=identity)


class _Numbering:
    """Registers of one direction, numbered as they come."""

    def __init__(self, first: int = 0) -> None:
        self.next = first
        self.registers: dict[str, Register] = {}

    def add(self, name: str, kind: str, shape: Any) -> None:
        bits = Shape.cast(shape).width
        count = max(1, -(-bits // WORD_BITS))
        self.registers[name] = Register(
            name=name,
            kind=kind,
            numbers=tuple(range(self.next, self.next + count)),
            bits=bits,
            fields=_fields(shape),
        )
        self.next += count

    def add_flags(self, names: list[str]) -> None:
        """A register for each 32 flags."""
        for n, name in enumerate(names):
            number, offset = divmod(n, WORD_BITS)
            self.registers[name] = Register(
                name=name, kind="flag", numbers=(self.next + number,), bits=1, offset=offset
            )
        self.next += -(-len(names) // WORD_BITS)


def _fields(shape: Any, prefix: str = "", start: int = 0) -> dict[str, tuple[int, int]]:
    if not isinstance(shape, data.StructLayout):
        return {}
    found: dict[str, tuple[int, int]] = {}
    for name, place in shape:
        inner = _fields(place.shape, f"{prefix}{name}.", start + place.offset)
        found |= inner or {f"{prefix}{name}": (start + place.offset, place.width)}
    return found
