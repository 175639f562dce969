"""The registers through which a host reaches a component, derived from the component's ports."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, stream
from amaranth.lib.wiring import Flow, In, Out, Signature

from hdl.link.limits import largest_value, leaves
from mmfree.chip.registers import MAX_REGISTERS, WORD_BITS, Access, Register, RegisterMap
from mmfree.errors import InputError

REFUSED_BITS = 8
"""Bits of the register ``refused``: the first byte of a frame."""


class Kind(StrEnum):
    """What a port is."""

    BIT = "1 bit"
    VALUE = "several bits"
    STREAM = "a stream"


FITTING = {
    Access.READ: (Out, (Kind.BIT, Kind.VALUE)),
    Access.FLAG: (Out, (Kind.BIT,)),
    Access.WRITE: (In, (Kind.BIT, Kind.VALUE)),
    Access.STROBE: (In, (Kind.BIT,)),
    Access.SEND: (In, (Kind.STREAM,)),
    Access.TAKE: (Out, (Kind.STREAM,)),
}
"""Access of a port -> what the port must be."""


@dataclass(frozen=True)
class ReachedPort:
    """A port of a component, or a stream, that a host reaches.

    ``path``: the names that lead to it. ``shape``: of a stream, its payload's.
    """

    path: tuple[str, ...]
    access: Access
    shape: Any

    @property
    def name(self) -> str:
        """Its name in a register map."""
        return ".".join(self.path)


def reached_ports(signature: Signature, accesses: Mapping[str, Access]) -> list[ReachedPort]:
    """The ports of a signature, in its order.

    ``accesses``: name of each, with dots, -> what a host does with it.

    Raises
    ------
    ValueError
        If a port has no access, an access no port, or one does not fit the other.
    """
    left, ports = dict(accesses), []
    for path, flow, kind, shape in _ports(signature):
        name = ".".join(path)
        if name not in left:
            raise ValueError(f"port {name} has no access: name one of {', '.join(FITTING)}")
        access = left.pop(name)
        fitting_flow, fitting_kinds = FITTING.get(access, (None, ()))
        if flow != fitting_flow or kind not in fitting_kinds:
            way = "in" if flow == In else "out"
            raise ValueError(f"port {name} ({way}, {kind}) cannot have the access {access}")
        ports.append(ReachedPort(path, access, shape))
    if left:
        raise ValueError(f"no port is named {', '.join(left)}, for which there is an access")
    return ports


def _ports(
    signature: Signature, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Flow, Kind, Any]]:
    """(path, flow, kind, shape) of every stream, and of every port that is no stream's."""
    for name, member in signature.members.items():
        path = (*prefix, name)
        if member.is_port:
            kind = Kind.BIT if Shape.cast(member.shape).width == 1 else Kind.VALUE
            yield path, member.flow, kind, member.shape
        elif isinstance(member.signature, stream.Signature):
            payload = member.signature.members["payload"].shape
            yield path, member.flow, Kind.STREAM, payload
        else:
            yield from _ports(member.signature, path)


def register_map(
    signature: Signature, accesses: Mapping[str, Access], description: Any = None
) -> RegisterMap:
    """Registers for the ports of a component.

    ``accesses``: see ``reached_ports``. ``description`` (of JSON types) enters the identity, so
    that a host can tell builds apart.

    A stream in has ``NAME.payload``, ``NAME`` to send it, and ``NAME.waiting`` while it is not
    taken (writes to both are refused then); a stream out ``NAME.payload``, ``NAME.valid``, and
    ``NAME`` to take it. A struct that is written has a value for each field, which is checked
    alone. Several registers of one value are not read in one instant.

    Raises
    ------
    InputError
        If there are more than MAX_REGISTERS to read, or to write.
    """
    write, read = _Numbering(), _Numbering()
    read.add("identity", Access.READ, WORD_BITS)
    read.add("refused", Access.READ, REFUSED_BITS)
    write.add("refused", Access.CLEAR)
    flags: list[str] = []
    for port in reached_ports(signature, accesses):
        match port.access:
            case Access.SEND:
                write.add_fields(f"{port.name}.payload", port.shape)
                write.add(port.name, port.access)
                flags.append(f"{port.name}.waiting")
            case Access.TAKE:
                read.add(f"{port.name}.payload", Access.READ, port.shape)
                write.add(port.name, port.access)
                flags.append(f"{port.name}.valid")
            case Access.WRITE:
                write.add_fields(port.name, port.shape)
            case Access.STROBE:
                write.add(port.name, port.access)
            case Access.READ:
                read.add(port.name, port.access, port.shape)
            case Access.FLAG:
                flags.append(port.name)
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
    return RegisterMap(write=write.registers, read=read.registers, identity=identity)


class _Numbering:
    """Registers of one direction, numbered as they come."""

    def __init__(self) -> None:
        self.next = 0
        self.registers: dict[str, Register] = {}

    def add(self, name: str, access: Access, shape: Any = 0) -> None:
        bits, largest = Shape.cast(shape).width, largest_value(shape)
        count = max(1, -(-bits // WORD_BITS))
        # A limit that depends on several words would need them at once.
        assert count == 1 or largest == (1 << bits) - 1, (name, shape)
        self.registers[name] = Register(
            name=name,
            access=access,
            numbers=tuple(range(self.next, self.next + count)),
            bits=bits,
            largest=largest,
            fields=_fields(shape),
        )
        self.next += count

    def add_fields(self, name: str, shape: Any) -> None:
        """Values to write: each field of a struct, or another shape as it is."""
        for leaf in leaves(shape, name):
            self.add(leaf.name, Access.WRITE, leaf.shape)

    def add_flags(self, names: list[str]) -> None:
        """A register for each 32 flags."""
        for n, name in enumerate(names):
            number, offset = divmod(n, WORD_BITS)
            self.registers[name] = Register(
                name=name,
                access=Access.FLAG,
                numbers=(self.next + number,),
                bits=1,
                largest=1,
                offset=offset,
            )
        self.next += -(-len(names) // WORD_BITS)


def _fields(shape: Any) -> dict[str, tuple[int, int]]:
    """Fields of a struct that is read."""
    if not isinstance(shape, data.StructLayout):
        return {}
    return {leaf.name: (leaf.start, leaf.bits) for leaf in leaves(shape, "")}
