"""The registers through which a host reaches a component, derived from the component's ports."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, stream
from amaranth.lib.wiring import Flow, In, Signature

from mmfree.chip.registers import MAX_REGISTERS, WORD_BITS, Access, Register, RegisterMap
from mmfree.errors import InputError

INPUTS, STREAMS, BITS = (
    (Access.WRITE, Access.STROBE, Access.SEND),
    (Access.SEND, Access.TAKE),
    (Access.STROBE, Access.FLAG),
)
"""What can be done with inputs only, with streams only, and with one bit only."""


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
    for path, flow, is_stream, shape in _leaves(signature):
        name = ".".join(path)
        if name not in left:
            raise ValueError(f"port {name} has no access: name one of {', '.join(Access)}")
        access = left.pop(name)
        is_bit = is_stream or Shape.cast(shape).width == 1
        if (
            (flow == In) != (access in INPUTS)
            or is_stream != (access in STREAMS)
            or (access in BITS and not is_bit)
        ):
            what = "a stream" if is_stream else f"{Shape.cast(shape).width} bits"
            way = "in" if flow == In else "out"
            raise ValueError(f"port {name} ({way}, {what}) cannot have the access {access}")
        ports.append(ReachedPort(path, access, shape))
    if left:
        raise ValueError(f"no port is named {', '.join(left)}, for which there is an access")
    return ports


def _leaves(
    signature: Signature, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Flow, bool, Any]]:
    """(path, flow, whether it is a stream, shape) of each port that is no stream's, and stream."""
    for name, member in signature.members.items():
        path = (*prefix, name)
        if member.is_port:
            yield path, member.flow, False, member.shape
        elif isinstance(member.signature, stream.Signature):
            yield path, member.flow, True, member.signature.members["payload"].shape
        else:
            yield from _leaves(member.signature, path)


def register_map(
    signature: Signature, accesses: Mapping[str, Access], description: Any = None
) -> RegisterMap:
    """Registers for the ports of a component.

    ``accesses``: see ``reached_ports``. ``description`` (of JSON types) enters the identity, so
    that a host can tell builds apart.

    A stream in has ``NAME.payload``, ``NAME`` to send it, and ``NAME.waiting`` while it is not
    taken (writes to the payload are ignored then); a stream out ``NAME.payload``, ``NAME.valid``,
    and ``NAME`` to take it. Several registers of one value are not read in one instant.

    Raises
    ------
    InputError
        If there are more than MAX_REGISTERS to read, or to write.
    """
    write, read = _Numbering(), _Numbering(first=1)  # read register 0: identity
    flags: list[str] = []
    for port in reached_ports(signature, accesses):
        match port.access:
            case Access.SEND:
                write.add(f"{port.name}.payload", Access.WRITE, port.shape)
                write.add(port.name, port.access)
                flags.append(f"{port.name}.waiting")
            case Access.TAKE:
                read.add(f"{port.name}.payload", Access.READ, port.shape)
                write.add(port.name, port.access)
                flags.append(f"{port.name}.valid")
            case Access.WRITE:
                write.add(port.name, port.access, port.shape)
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
    read.registers["identity"] = Register(
        name="identity", access=Access.READ, numbers=(0,), bits=WORD_BITS
    )
    return RegisterMap(write=write.registers, read=read.registers, identity=identity)


class _Numbering:
    """Registers of one direction, numbered as they come."""

    def __init__(self, first: int = 0) -> None:
        self.next = first
        self.registers: dict[str, Register] = {}

    def add(self, name: str, access: Access, shape: Any = 0) -> None:
        bits = Shape.cast(shape).width
        count = max(1, -(-bits // WORD_BITS))
        self.registers[name] = Register(
            name=name,
            access=access,
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
                name=name, access=Access.FLAG, numbers=(self.next + number,), bits=1, offset=offset
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
