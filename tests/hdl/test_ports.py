"""Every component's docstring says what its ports are: one line each, in the signature's order.

::

    Ports::

        name     in    shape      meaning, unit, latency
"""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple

import pytest
from amaranth.hdl import Shape
from amaranth.lib import wiring

from tests.support.hdl.components import (
    COMPONENTS,
    DESIGN,
    component_classes,
    instance,
    port_names,
)

SIZES = {"P": DESIGN.post_width, "C": DESIGN.columns, "R": DESIGN.rows, "G": DESIGN.num_groups}
"""Letters that a docstring's shapes may use."""

ELEMENT = re.compile(r"(?:(?P<count>2?[PCRG23]) x )?(?P<kind>u?int|signed\()?(?P<bits>\d+)\)?")


class Port(NamedTuple):
    """A line of a docstring."""

    name: str
    direction: str
    shape: str
    meaning: str


def documented_ports(kind: type) -> list[Port]:
    """The lines after ``Ports::``."""
    _, found, table = inspect.cleandoc(kind.__doc__ or "").partition("Ports::\n\n")
    assert found, f"{kind.__name__} has no table of ports"
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


def test_every_component_is_looked_at() -> None:
    assert set(COMPONENTS) == component_classes()


@pytest.mark.parametrize("kind", COMPONENTS, ids=lambda kind: kind.__name__)
def test_the_docstring_names_every_port(kind: type[wiring.Component]) -> None:
    component = instance(kind)
    ports = documented_ports(kind)
    assert {port.name: port.direction for port in ports} == port_names(component)
    assert [port.name for port in ports] == list(port_names(component))
    for port in ports:
        member: Any = component.signature.members[port.name]
        assert not port.meaning.endswith("."), port
        bits = documented_bits(port.shape)
        if member.is_signature:
            assert bits is None, port
            assert bool(member.dimensions) == (" x " in port.shape), port
        elif bits is not None:
            assert bits == Shape.cast(member.shape).width, port
