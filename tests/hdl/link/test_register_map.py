"""The register map: derived from any signature by the same rules, complete for the accelerator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from amaranth.hdl import Fragment, signed
from amaranth.hdl import Shape as BitShape
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from hdl.accelerator import Accelerator
from hdl.control.counters import COUNTER_BITS, COUNTERS
from hdl.link.register_map import register_map
from mmfree.chip.registers import MAX_REGISTERS, Register, RegisterMap
from mmfree.errors import InputError
from tests.support.sim.shapes import ADDITION, ODD, Shape

ORDER = data.StructLayout({"item": data.StructLayout({"id": 40, "new": 1}), "count": 5})
EVERY_KIND = Signature(
    {
        "order": In(stream.Signature(ORDER)),
        "parcel": Out(stream.Signature(data.StructLayout({"row": 7, "last": 1}))),
        "abort": In(1),
        "key": In(70),
        "key_enable": In(1),
        "mode": In(1),
        "busy": Out(1),
        "refused": Out(1),
        "level": Out(data.ArrayLayout(signed(16), 5)),
        "small": Out(3),
        "pause": In(1),
        "tap_level": Out(Signature({"address": Out(4)})),
    }
)
"""A component with a port of each kind."""


def signature_of(shape: Shape) -> Signature:
    """The ports of a shape's accelerator."""
    accelerator = Accelerator(shape.design())
    Fragment.get(accelerator, None)  # Amaranth warns of what was made and never elaborated
    return accelerator.signature


def names(registers: dict[str, Register]) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    return {name: (r.kind, r.numbers, r.offset, r.bits) for name, r in registers.items()}


def test_every_kind_of_port() -> None:
    found = register_map(EVERY_KIND)
    assert names(found.write) == {
        "order.payload": ("value", (0, 1), 0, 46),
        "order": ("send", (2,), 0, 0),
        "parcel": ("take", (3,), 0, 0),
        "abort": ("strobe", (4,), 0, 1),
        "key": ("value", (5, 6, 7), 0, 70),
        "key_enable": ("strobe", (8,), 0, 1),
        "mode": ("value", (9,), 0, 1),
    }
    assert names(found.read) == {
        "identity": ("value", (0,), 0, 32),
        "parcel.payload": ("value", (1,), 0, 8),
        "level": ("value", (2, 3, 4), 0, 80),
        "small": ("value", (5,), 0, 3),
        "order.waiting": ("flag", (6,), 0, 1),
        "parcel.valid": ("flag", (6,), 1, 1),
        "busy": ("flag", (6,), 2, 1),
        "refused": ("flag", (6,), 3, 1),
    }
    assert found.write["order.payload"].fields == {
        "item.id": (0, 40),
        "item.new": (40, 1),
        "count": (41, 5),
    }
    assert found.read["parcel.payload"].fields == {"row": (0, 7), "last": (7, 1)}


def test_frames_and_values() -> None:
    found = register_map(EVERY_KIND)
    assert found.write["key"].write_frames(0x0102030405060708090A) == bytes.fromhex(
        "850a090807 8606050403 8702010000"
    )
    assert found.write["order"].write_frames(0) == bytes([0x82, 0, 0, 0, 0])
    assert found.read["level"].read_frames() == bytes([2, 3, 4])
    assert found.read["level"].value_of(bytes(range(12))) == int.from_bytes(
        bytes(range(10)), "little"
    )
    assert found.read["busy"].value_of(bytes([0b100, 0, 0, 0])) == 1
    assert found.read["refused"].value_of(bytes([0b10111, 0, 0, 0])) == 0


@pytest.mark.parametrize("shape", [ODD, ADDITION], ids=lambda shape: shape.name)
def test_a_host_reaches_every_port_of_the_accelerator(shape: Shape) -> None:
    signature = signature_of(shape)
    found = register_map(signature)
    for name, member in signature.members.items():
        if name.startswith("tap_") or name == "pause":
            assert name not in found.write | found.read
        elif member.is_signature:
            payload = (found.write if member.flow == In else found.read)[f"{name}.payload"]
            assert payload.bits == BitShape.cast(member.signature.members["payload"].shape).width
            assert name in found.write
        else:
            assert (found.write if member.flow == In else found.read)[name].bits == BitShape.cast(
                member.shape
            ).width
    assert {r.name for r in found.write.values() if r.kind == "strobe"} == {
        "abort",
        "seed_enable",
        "load_enable",
        "state_enable",
    }
    assert {"token.id", "token.begin", "limit", "temperature"} < set(
        found.write["request.payload"].fields
    )
    assert found.read["counters"].bits == COUNTER_BITS * len(COUNTERS)
    for registers in (found.write, found.read):
        taken = [n for r in registers.values() if r.kind != "flag" for n in r.numbers]
        assert sorted(taken) == list(range(len(taken))), "each number once, without gaps"
        assert max(n for r in registers.values() for n in r.numbers) < MAX_REGISTERS


def test_builds_differ_in_their_identity() -> None:
    def identity(**ports: Any) -> int:
        return register_map(Signature({"a": In(4), **ports}), "x").identity

    assert identity() == register_map(Signature({"a": In(4)}), "x").identity
    assert (
        len({identity(), identity(b=In(1)), register_map(Signature({"a": In(4)}), "y").identity})
        == 3
    )


def test_it_is_json() -> None:
    found = register_map(EVERY_KIND)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["write"]["key"]["numbers"] == [5, 6, 7]
    assert values["identity"] == found.identity
    assert isinstance(found, RegisterMap)


def test_too_many_registers_are_refused() -> None:
    register_map(Signature({"wide": In(32 * MAX_REGISTERS)}))
    with pytest.raises(
        InputError,
        match=(
            "a host would need 129 registers to write, and a frame can name 128: a smaller"
            " post_width"
        ),
    ):
        register_map(Signature({"wide": In(32 * MAX_REGISTERS + 1)}))
    with pytest.raises(InputError, match="a host would need 129 registers to read"):
        register_map(Signature({"wide": Out(32 * MAX_REGISTERS)}))
