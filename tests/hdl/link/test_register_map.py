"""The register map: derived from any signature by the same rules, complete for the accelerator."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Fragment, signed
from amaranth.hdl import Shape as BitShape
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature
from hypothesis import given
from hypothesis import strategies as st

from hdl.accelerator import Accelerator
from hdl.link.host_ports import ACCESS, HostPorts
from hdl.link.register_map import reached_ports, register_map
from mmfree.chip.exchange import COUNTERS, LIMIT_BITS
from mmfree.chip.memory_map import LOADED_MEMORIES
from mmfree.chip.registers import MAX_REGISTERS, Access, Register, RegisterMap
from mmfree.contract.pow2 import TEMPERATURE_MAX
from mmfree.errors import InputError
from mmfree.files.atomic import read_json
from tests.support.sim.shapes import ADDITION, ODD, Shape

ORDER = data.StructLayout({"item": data.StructLayout({"id": 40, "new": 1}), "count": range(21)})
EVERY_KIND = Signature(
    {
        "order": In(stream.Signature(ORDER)),
        "parcel": Out(stream.Signature(data.StructLayout({"row": 7, "last": 1}))),
        "cancel": In(1),
        "key": In(Signature({"value": Out(70), "enable": Out(1), "refused": In(1)})),
        "mode": In(1),
        "slot": In(range(11)),
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
    "slot": Access.WRITE,
    "busy": Access.FLAG,
    "level": Access.READ,
    "small": Access.READ,
}


def places(registers: dict[str, Register]) -> dict[str, tuple[Access, tuple[int, ...], int, int]]:
    return {name: (r.access, r.numbers, r.offset, r.largest) for name, r in registers.items()}


def test_every_kind_of_port() -> None:
    found = register_map(EVERY_KIND, ACCESSES)
    assert places(found.write) == {
        "refused": (Access.CLEAR, (0,), 0, 0),
        "order.payload.item.id": (Access.WRITE, (1, 2), 0, 2**40 - 1),
        "order.payload.item.new": (Access.WRITE, (3,), 0, 1),
        "order.payload.count": (Access.WRITE, (4,), 0, 20),
        "order": (Access.SEND, (5,), 0, 0),
        "parcel": (Access.TAKE, (6,), 0, 0),
        "cancel": (Access.STROBE, (7,), 0, 0),
        "key.value": (Access.WRITE, (8, 9, 10), 0, 2**70 - 1),
        "key.enable": (Access.STROBE, (11,), 0, 0),
        "mode": (Access.WRITE, (12,), 0, 1),
        "slot": (Access.WRITE, (13,), 0, 10),
    }
    assert places(found.read) == {
        "identity": (Access.READ, (0,), 0, 2**32 - 1),
        "refused": (Access.READ, (1,), 0, 255),
        "parcel.payload": (Access.READ, (2,), 0, 255),
        "level": (Access.READ, (3, 4, 5), 0, 2**80 - 1),
        "small": (Access.READ, (6,), 0, 7),
        "order.waiting": (Access.FLAG, (7,), 0, 1),
        "parcel.valid": (Access.FLAG, (7,), 1, 1),
        "key.refused": (Access.FLAG, (7,), 2, 1),
        "busy": (Access.FLAG, (7,), 3, 1),
    }
    assert found.read["parcel.payload"].fields == {"row": (0, 7), "last": (7, 1)}
    assert found.read["parcel.payload"].fields_of(bytes([0x91, 0, 0, 0])) == {"row": 17, "last": 1}
    largest = {r.numbers: r.largest_words for r in found.write.values()}
    assert largest[8, 9, 10] == (2**32 - 1, 2**32 - 1, 63)
    assert largest[1, 2] == (2**32 - 1, 255)
    assert largest[4,] == (20,)


@pytest.mark.parametrize("name", register_map(EVERY_KIND, ACCESSES).write)
@given(drawn=st.data())
def test_a_host_sends_nothing_that_a_register_cannot_hold(name: str, drawn: st.DataObject) -> None:
    register = register_map(EVERY_KIND, ACCESSES).write[name]
    fitting = drawn.draw(st.integers(0, register.largest))
    sent = register.write_frames(fitting)
    words = [sent[n + 1 : n + 5] for n in range(0, len(sent), 5)]
    assert int.from_bytes(b"".join(words), "little") == fitting
    assert list(sent[::5]) == [0x80 | n for n in register.numbers]
    for value in (
        *(register.largest + 1, -1),
        drawn.draw(st.integers(min_value=register.largest + 1)),
        drawn.draw(st.integers(max_value=-1)),
    ):
        expected = f"^{re.escape(name)} must lie in 0..{register.largest}, got {value}$"
        with pytest.raises(InputError, match=expected):
            register.write_frames(value)


def test_a_refused_frame_is_named() -> None:
    found = register_map(EVERY_KIND, ACCESSES)
    assert found.refused_name(0) is None
    assert found.refused_name(0x80) == "refused"
    assert found.refused_name(0x80 | 9) == "key.value"
    assert found.refused_name(0x80 | 13) == "slot"
    assert found.refused_name(0x80 | 99) == "number 99, which none has"


@pytest.mark.parametrize(
    ("name", "access", "message"),
    [
        (
            "mode",
            None,
            "port mode has no access: name one of read, flag, write, strobe, send, t",
        ),
        ("tap", Access.READ, "no port is named tap, for which there is an access"),
        ("key", Access.WRITE, "no port is named key, for which there is an access"),
        ("mode", Access.READ, r"port mode \(in, 1 bit\) cannot have the access read"),
        ("mode", Access.TAKE, r"port mode \(in, 1 bit\) cannot have the access take"),
        ("mode", Access.CLEAR, r"port mode \(in, 1 bit\) cannot have the access clear"),
        ("key.value", Access.STROBE, r"key.value \(in, several bits\) cannot have the access str"),
        ("key.refused", Access.WRITE, r"port key.refused \(out, 1 bit\) cannot have the access wr"),
        ("small", Access.FLAG, r"port small \(out, several bits\) cannot have the access flag"),
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
    assert found.write["key.value"].write_frames(0x2A02030405060708090A >> 8) == bytes.fromhex(
        "8809080706 8905040302 8a2a000000"
    )
    assert found.write["order"].write_frames() == bytes([0x85, 0, 0, 0, 0])
    assert found.read["level"].read_frames() == bytes([3, 4, 5])
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
        inside = [r for name, r in found.write.items() if f"{name}.".startswith(f"{port.name}.")]
        match port.access:
            case Access.SEND | Access.WRITE:
                assert sum(r.bits for r in inside) == bits
            case Access.TAKE:
                assert found.read[f"{port.name}.payload"].bits == bits
            case Access.READ | Access.FLAG:
                assert found.read[port.name].bits == bits
        if port.access in (Access.SEND, Access.TAKE, Access.STROBE):
            assert found.write[port.name].access == port.access
    limits = {name: r.largest for name, r in found.write.items() if r.access == Access.WRITE}
    design = shape.design()
    assert limits["request.payload.token.id"] == design.embedding_rows - 1
    assert limits["request.payload.temperature"] == TEMPERATURE_MAX == 255
    assert limits["request.payload.limit"] == (1 << LIMIT_BITS) - 1 == 65_535
    assert limits["request.payload.stop"] == design.max_blocks * design.rows - 1
    assert limits["load.memory"] == len(LOADED_MEMORIES) - 1
    assert limits["state.address"] == design.state_words - 1
    assert limits["logits.address"] == design.max_blocks * design.groups_per_block - 1
    assert list(found.read["counters"].fields) == list(COUNTERS)
    assert {bits for _, bits in found.read["counters"].fields.values()} == {32}
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


def test_the_order_of_keys_in_a_description_makes_no_other_build() -> None:
    ports, accesses = Signature({"a": In(1)}), {"a": Access.WRITE}
    one, other = ({"lanes": 4, "code": "2"}, {"code": "2", "lanes": 4})
    assert [*one] != [*other]
    found = {register_map(ports, accesses, text).identity for text in (one, other)}
    assert len(found) == 1


MANY_FLAGS = Signature({"first": Out(5), **{f"flag_{n}": Out(1) for n in range(70)}})
MANY_ACCESSES = dict.fromkeys(MANY_FLAGS.members, Access.FLAG) | {"first": Access.READ}


def test_flags_take_as_many_registers_as_they_need() -> None:
    """32 of them share one."""
    found = register_map(MANY_FLAGS, MANY_ACCESSES).read
    for n in range(70):
        register = found[f"flag_{n}"]
        assert (register.numbers, register.offset) == ((3 + n // 32,), n % 32)
    assert found["first"].numbers == (2,)
    full = Signature({f"flag_{n}": Out(1) for n in range(32 * (MAX_REGISTERS - 2))})
    register_map(full, dict.fromkeys(full.members, Access.FLAG))
    wide = Signature({**full.members, "one_more": Out(1)})
    with pytest.raises(InputError, match="a host would need 128 registers to read"):
        register_map(wide, dict.fromkeys(wide.members, Access.FLAG))


def test_what_a_host_does_with_each_port_of_an_accelerator() -> None:
    """Of the others a host reads what comes out and writes what goes in."""
    kinds = {
        Access.SEND: {"request"},
        Access.TAKE: {"result", "fault"},
        Access.STROBE: {"cancel", "seed.enable", "load.enable", "state.enable"},
        Access.FLAG: {"load.refused", "playing"},
        Access.READ: {"state.data", "logits.data", "counters", "segment"},
        Access.WRITE: {
            "seed.registers",
            *(f"load.{name}" for name in ("memory", "word", "part", "data")),
            "state.address",
            "state.write",
            "logits.address",
        },
    }
    assert {kind: {n for n, a in ACCESS.items() if a is kind} for kind in kinds} == kinds
    assert sum(len(names) for names in kinds.values()) == len(ACCESS)


def test_it_is_json() -> None:
    found = register_map(EVERY_KIND, ACCESSES)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["write"]["key.value"]["numbers"] == [8, 9, 10]
    assert values["identity"] == found.identity
    assert isinstance(found, RegisterMap)


def test_too_many_registers_are_refused() -> None:
    written, read = {"wide": Access.WRITE}, {"wide": Access.READ}
    register_map(Signature({"wide": In(32 * (MAX_REGISTERS - 1))}), written)
    with pytest.raises(
        InputError,
        match=(
            "a host would need 128 registers to write, and a frame can name 127: a smaller"
            " post_width"
        ),
    ):
        register_map(Signature({"wide": In(32 * MAX_REGISTERS)}), written)
    with pytest.raises(InputError, match="a host would need 129 registers to read"):
        register_map(Signature({"wide": Out(32 * MAX_REGISTERS)}), read)


def test_a_host_reads_the_map_from_json(tmp_path: Path) -> None:
    """Limits of 64 bits and more are not written: few readers take them."""
    found = register_map(HostPorts(ODD.design()), ACCESS)
    path = tmp_path / "registers.json"
    path.write_text(json.dumps(found.to_dict()))
    read = read_json(path)
    assert read["write"]["seed.registers.a"]["largest"] is None
    assert read["write"]["load.memory"]["largest"] == len(LOADED_MEMORIES) - 1
