"""The register map: derived from any signature by the same rules, complete for the accelerator."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from amaranth.hdl import Fragment, signed
from amaranth.hdl import Shape as BitShape
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from hdl.accelerator import Accelerator
from hdl.interface import COUNTERS
from hdl.link.host_ports import ACCESS, HostPorts
from hdl.link.register_map import reached_ports, register_map
from mmfree.chip.registers import MAX_REGISTERS, Access, Register, RegisterMap
from mmfree.errors import InputError
from tests.support.sim.shapes import ADDITION, ODD, Shape

ORDER = data.StructLayout({"item": data.StructLayout({"id": 40, "new": 1}), "count": 5})
EVERY_KIND = Signature(
    {
        "order": In(stream.Signature(ORDER)),
        "parcel": Out(stream.Signature(data.StructLayout({"row": 7, "last": 1}))),
        "cancel": In(1),
        "key": In(Signature({"value": Out(70), "enable": Out(1), "refused": In(1)})),
        "mode": In(1),
        "busy": Out(1),
        "level": Out(data.ArrayLayout(signed(16), 5)),
        "small": Out(3),
    }
)
"""A component with a port of each kind."""

ACCESSES = {
    "order": Access.SEND,
    "parcel": Access.TAKE,
    "cancel": Access.STROBE,
    "key.value": Access.WRITE,
    "key.enable": Access.STROBE,
    "key.refused": Access.FLAG,
    "mode": Access.WRITE,
    "busy": Access.FLAG,
    "level": Access.READ,
    "small": Access.READ,
}


def names(
    registers: dict[str, Register],
) -> dict[str, tuple[Access, tuple[int, ...], int, int]]:
    return {name: (r.access, r.numbers, r.offset, r.bits) for name, r in registers.items()}


def test_every_kind_of_port() -> None:
    found = register_map(EVERY_KIND, ACCESSES)
    assert names(found.write) == {
        "order.payload": (Access.WRITE, (0, 1), 0, 46),
        "order": (Access.SEND, (2,), 0, 0),
        "parcel": (Access.TAKE, (3,), 0, 0),
        "cancel": (Access.STROBE, (4,), 0, 0),
        "key.value": (Access.WRITE, (5, 6, 7), 0, 70),
        "key.enable": (Access.STROBE, (8,), 0, 0),
        "mode": (Access.WRITE, (9,), 0, 1),
    }
    assert names(found.read) == {
        "identity": (Access.READ, (0,), 0, 32),
        "parcel.payload": (Access.READ, (1,), 0, 8),
        "level": (Access.READ, (2, 3, 4), 0, 80),
        "small": (Access.READ, (5,), 0, 3),
        "order.waiting": (Access.FLAG, (6,), 0, 1),
        "parcel.valid": (Access.FLAG, (6,), 1, 1),
        "key.refused": (Access.FLAG, (6,), 2, 1),
        "busy": (Access.FLAG, (6,), 3, 1),
    }
    assert found.write["order.payload"].fields == {
        "item.id": (0, 40),
        "item.new": (40, 1),
        "count": (41, 5),
    }
    assert found.read["parcel.payload"].fields == {"row": (0, 7), "last": (7, 1)}


@pytest.mark.parametrize(
    ("name", "access", "message"),
    [
        ("mode", None, "port mode has no access: name one of read, flag, write, strobe, send"),
        ("tap", Access.READ, "no port is named tap, for which there is an access"),
        ("key", Access.WRITE, "no port is named key, for which there is an access"),
        ("mode", Access.READ, r"port mode \(in, 1 bits\) cannot have the access read"),
        ("mode", Access.TAKE, r"port mode \(in, 1 bits\) cannot have the access take"),
        ("key.value", Access.STROBE, r"port key.value \(in, 70 bits\) cannot have the access str"),
        ("key.refused", Access.WRITE, r"port key.refused \(out, 1 bits\) cannot have the access"),
        ("small", Access.FLAG, r"port small \(out, 3 bits\) cannot have the access flag"),
        ("order", Access.TAKE, r"port order \(in, a stream\) cannot have the access take"),
        ("order", Access.WRITE, r"port order \(in, a stream\) cannot have the access write"),
        ("parcel", Access.SEND, r"port parcel \(out, a stream\) cannot have the access send"),
    ],
)
def test_an_access_that_does_not_fit_is_refused(
    name: str, access: Access | None, message: str
) -> None:
    changed = {key: value for key, value in ACCESSES.items() if key != name}
    if access is not None:
        changed[name] = access
    with pytest.raises(ValueError, match=message):
        reached_ports(EVERY_KIND, changed)


def test_frames_and_values() -> None:
    found = register_map(EVERY_KIND, ACCESSES)
    assert found.write["key.value"].write_frames(0x0102030405060708090A) == bytes.fromhex(
        "850a090807 8606050403 8702010000"
    )
    assert found.write["order"].write_frames(0) == bytes([0x82, 0, 0, 0, 0])
    assert found.read["level"].read_frames() == bytes([2, 3, 4])
    assert found.read["level"].value_of(bytes(range(12))) == int.from_bytes(
        bytes(range(10)), "little"
    )
    assert found.read["busy"].value_of(bytes([0b1000, 0, 0, 0])) == 1
    assert found.read["key.refused"].value_of(bytes([0b11011, 0, 0, 0])) == 0


@pytest.mark.parametrize("shape", [ODD, ADDITION], ids=lambda shape: shape.name)
def test_a_host_reaches_the_accelerator_all_but_what_only_simulations_use(shape: Shape) -> None:
    accelerator = Accelerator(shape.design())
    Fragment.get(accelerator, None)  # Amaranth warns of what was made and never elaborated
    signature = HostPorts(shape.design())
    assert accelerator.host.signature.is_compliant(accelerator.host)
    assert set(accelerator.signature.members) - set(signature.members) == {
        *("pause", "tap_x", "tap_u", "tap_state", "tap_logits")
    }
    found = register_map(signature, ACCESS)
    for port in reached_ports(signature, ACCESS):
        bits = BitShape.cast(port.shape).width
        if port.access in (Access.SEND, Access.TAKE):
            payload = found.write if port.access == Access.SEND else found.read
            assert payload[f"{port.name}.payload"].bits == bits
            assert found.write[port.name].access == port.access
        elif port.access in (Access.WRITE, Access.STROBE):
            assert found.write[port.name].access == port.access
            assert port.access == Access.STROBE or found.write[port.name].bits == bits
        else:
            assert found.read[port.name].bits == bits
    assert {"token.id", "token.begin", "limit", "temperature"} < set(
        found.write["request.payload"].fields
    )
    assert list(found.read["counters"].fields) == list(COUNTERS)
    for registers in (found.write, found.read):
        taken = [n for r in registers.values() if r.access != Access.FLAG for n in r.numbers]
        assert sorted(taken) == list(range(len(taken))), "each number once, without gaps"
        assert max(n for r in registers.values() for n in r.numbers) < MAX_REGISTERS


def test_builds_differ_in_their_identity() -> None:
    def identity(ports: dict[str, Any], description: str = "x", a: Access = Access.WRITE) -> int:
        accesses = {"a": a, **dict.fromkeys(ports, Access.WRITE)}
        return register_map(Signature({"a": In(1), **ports}), accesses, description).identity

    assert identity({}) == identity({})
    others = [{"b": In(1)}, {}], ["x", "y"], [Access.WRITE, Access.STROBE]
    assert len({identity(*change) for change in product(*others)}) == 8


def test_it_is_json() -> None:
    found = register_map(EVERY_KIND, ACCESSES)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["write"]["key.value"]["numbers"] == [5, 6, 7]
    assert values["identity"] == found.identity
    assert isinstance(found, RegisterMap)


def test_too_many_registers_are_refused() -> None:
    written, read = {"wide": Access.WRITE}, {"wide": Access.READ}
    register_map(Signature({"wide": In(32 * MAX_REGISTERS)}), written)
    with pytest.raises(
        InputError,
        match=(
            "a host would need 129 registers to write, and a frame can name 128: a smaller"
            " post_width"
        ),
    ):
        register_map(Signature({"wide": In(32 * MAX_REGISTERS + 1)}), written)
    with pytest.raises(InputError, match="a host would need 129 registers to read"):
        register_map(Signature({"wide": Out(32 * MAX_REGISTERS)}), read)
