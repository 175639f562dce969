"""How a memory behaves, as numbers: what is asked for, refused, counted, and where files lie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmfree.chip.external_memory import find_memory
from mmfree.chip.sizing import design_for_memory
from mmfree.errors import InputError
from sim.memory.model import (
    COUNTERS,
    INPUTS,
    SOURCES,
    Behaviour,
    PortCounters,
    check_simulator,
    memory_name,
    place_files,
    read_latency,
)
from tests.support.sim.shapes import ODD


def test_pins_carry_what_is_asked_for() -> None:
    behaviour = Behaviour(
        base=0x5000, latency=(7, 90), withheld=12.5, address_withheld=50, seed=0x1_0000_0003
    )
    assert behaviour.pins() == {
        "memory_base": 0x5000,
        "memory_latency_low": 7,
        "memory_latency_high": 90,
        "memory_withheld": 0x2000,
        "memory_address_withheld": 0x8000,
        "memory_seed": 3,
    }
    assert set(behaviour.pins()) < set(INPUTS)
    for extreme in (
        Behaviour(latency=(10_000, 10_000), withheld=90),
        Behaviour(base=(1 << 40) - 4096),
    ):
        assert all(value < 1 << INPUTS[name] for name, value in extreme.pins().items())


def test_the_default_memory_is_not_where_addresses_begin() -> None:
    assert Behaviour().base > 1 << 32
    assert Behaviour().latency == (60, 200)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"base": 4097}, "multiple of 4096 below 2.40, got 0x1001"),
        ({"latency": (9, 4)}, r"^--latency must be LOW:HIGH cycles in 2..10000, got 9:4$"),
        ({"withheld": 90.5}, r"^--withheld must lie in 0..90 percent of the cycles, got 90.5$"),
        (
            {"address_withheld": -1},
            r"^address_withheld must lie in 0..90 .*, got -1$",
        ),
    ],
)
def test_a_memory_that_cannot_be_is_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(Behaviour(), **values)  # type: ignore[arg-type]


def test_latencies_are_two_numbers() -> None:
    assert read_latency("60:200") == (60, 200)
    for text in ("60", "60:", ":", "a:b", "60:200:3", "-1:4", "6 :7", ""):
        with pytest.raises(InputError, match="must be LOW:HIGH cycles, such as 60:200, got"):
            read_latency(text)


def test_only_one_simulator_has_the_model() -> None:
    external = find_memory("axi64")
    assert external is not None
    design = design_for_memory(ODD.config, external)
    check_simulator(design, "verilator")
    check_simulator(ODD.design(), "icarus")
    with pytest.raises(InputError, match="icarus cannot simulate the external memory axi64"):
        check_simulator(design, "icarus")


def test_files_lie_one_after_another() -> None:
    """As memory.cpp maps them: each at the next multiple of a page."""
    assert place_files(0x5000, [1, 4096, 4097, 8192]) == [0x5000, 0x6000, 0x7000, 0x9000]
    assert memory_name(0) == "memory0.bin"


def test_a_share_of_cycles() -> None:
    assert COUNTERS == ("beats", "bursts", "cycles", "throttled")
    assert PortCounters(1, 2, 8, 2).open_share == 0.75
    assert PortCounters(0, 0, 0, 0).open_share == 1.0
    assert all(source.is_file() for source in SOURCES)
