"""Docstrings of components and signatures name every port: a line each, in order.

::

    Ports::

        name     in    shape      meaning, unit, latency
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any, NamedTuple

import pytest
from amaranth.hdl import Shape
from amaranth.lib import wiring

from hdl.accelerator import Accelerator
from hdl.interface import NormScale, ScaledRows
from hdl.link.host_ports import HostPorts
from tests.support.hdl.components import (
    ABSMAX,
    COMPONENTS,
    DESIGN,
    EXTERNAL,
    SIGNATURES,
    classes_of,
    directions,
    instance,
)

SIZES = {"P": DESIGN.post_width, "C": DESIGN.columns, "R": DESIGN.rows, "G": DESIGN.num_groups}
"""Letters that a docstring's shapes may use."""

ELEMENT = re.compile(r"(?:(?P<count>2?[PCRG23]) x )?(?P<kind>u?int|signed\()?(?P<bits>\d+)\)?")


EXTERNAL_ONLY = "external memory: "
ONLY = (EXTERNAL_ONLY, "pow2: ", "absmax: ", "token shift: ")
"""How the meaning of a port begins that not every design has."""


class Port(NamedTuple):
    """A line of a docstring."""

    name: str
    direction: str
    shape: str
    meaning: str


def documented(kind: type, heading: str) -> list[Port]:
    """The lines after a heading, such as ``Ports::``."""
    _, found, table = inspect.cleandoc(kind.__doc__ or "").partition(f"{heading}::\n\n")
    assert found, f"{kind.__name__} has no table: {heading}"
    ports = []
    for line in table.split("\n\n")[0].splitlines():
        cells = re.split(r"\s{2,}", line.strip(), maxsplit=3)
        assert len(cells) == 4, f"{kind.__name__}: not name, direction, shape, meaning: {line!r}"
        ports.append(Port(*cells))
    return ports


def documented_bits(shape: str) -> int | None:
    """Width of a shape written in numbers, such as ``9``, ``int16`` or ``P x signed(17)``."""
    found = ELEMENT.fullmatch(shape)
    if found is None:
        return None
    count = found["count"] or "1"
    times = 2 if len(count) == 2 else 1
    number = SIZES.get(count[-1]) or int(count[-1])
    return times * number * int(found["bits"])


def check(kind: type, heading: str, signature: wiring.Signature) -> None:
    """The table says what the signature has: names, order, directions, widths.

    What begins with one of ONLY need not be there.
    """
    ports = [
        port
        for port in documented(kind, heading)
        if not (port.meaning.startswith(ONLY) and port.name not in signature.members)
    ]
    assert [(port.name, port.direction) for port in ports] == list(directions(signature).items())
    for port in ports:
        member: Any = signature.members[port.name]
        assert not port.meaning.endswith("."), port
        bits = documented_bits(port.shape)
        if member.is_signature:
            assert bits is None, port
            assert bool(member.dimensions) == (" x " in port.shape), port
        elif bits is not None:
            assert bits == Shape.cast(member.shape).width, port


def test_every_component_and_signature_is_looked_at() -> None:
    assert set(COMPONENTS) == classes_of(wiring.Component)
    assert set(SIGNATURES) == classes_of(wiring.Signature)


@pytest.mark.parametrize("kind", COMPONENTS, ids=lambda kind: kind.__name__)
def test_a_components_docstring_names_every_port(kind: type[wiring.Component]) -> None:
    check(kind, "Ports", instance(kind).signature)


@cache
def external_chip() -> Accelerator:
    """One to look at, kept: as ``instance``."""
    return Accelerator(EXTERNAL)


def test_with_an_external_memory_there_are_ports_for_it() -> None:
    for kind, heading, signature in (
        (Accelerator, "Ports", external_chip().signature),
        (HostPorts, "Members", HostPorts(EXTERNAL)),
    ):
        check(kind, heading, signature)
        told = [port for port in documented(kind, heading) if EXTERNAL_ONLY in port.meaning]
        assert told
        assert not {port.name for port in told} - set(signature.members)


def test_an_arithmetic_has_ports_of_its_own() -> None:
    for kind in (NormScale, ScaledRows):
        check(kind, "Members", kind(ABSMAX))
        own = {
            arithmetic: {
                port.name
                for port in documented(kind, "Members")
                if port.meaning.startswith(f"{arithmetic}: ")
            }
            for arithmetic in ("pow2", "absmax")
        }
        assert own["pow2"] == set(kind(DESIGN).members) - set(kind(ABSMAX).members)
        assert own["absmax"] == set(kind(ABSMAX).members) - set(kind(DESIGN).members)


@pytest.mark.parametrize("kind", SIGNATURES, ids=lambda kind: kind.__name__)
def test_a_signatures_docstring_names_every_member(kind: type[wiring.Signature]) -> None:
    check(kind, "Members", SIGNATURES[kind]())
