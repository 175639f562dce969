"""How the model of an external memory behaves, and what its ports have counted.

``axi_memory.sv`` is a port, ``memory.cpp`` gives its bytes: the files MEMORY_NAME of the working
folder, one after another (``place_files``). ``sim.cosim.wrapper`` puts a port for each of a chip's
beside it, and one set of pins for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmfree.chip.design import Design
from mmfree.chip.external_memory import ADDRESS_BITS, PAGE_BYTES
from mmfree.errors import InputError

SOURCES = tuple(Path(__file__).with_name(name) for name in ("axi_memory.sv", "memory.cpp"))
"""What is compiled with a chip that has an external memory."""

INPUTS = {
    "memory_base": ADDRESS_BITS,
    "memory_latency_low": 16,
    "memory_latency_high": 16,
    "memory_address_withheld": 16,
    "memory_withheld": 16,
    "memory_seed": 32,
    "memory_error": 1,
    "memory_error_address": ADDRESS_BITS,
    "memory_mute": 1,
    "memory_mute_port": 8,
    "memory_mute_after": 16,
    "memory_flip": 1,
    "memory_flip_offset": ADDRESS_BITS,
    "memory_flip_bit": 3,
    "memory_port": 8,
}
"""Pins of the model, and their bits: ``axi_memory.sv`` says what they do. When ``memory_flip``
rises, a bit of the byte at an offset from the base is inverted. ``memory_port`` is the port whose
counters are shown, ``memory_mute_port`` the one that ``memory_mute`` silences; the last port is
that of the embedding's rows.
"""

COUNTERS = ("beats", "bursts", "cycles", "throttled")
"""What a port counts: ``memory_beats`` and on, 64 bits each."""

PARTS = 1 << 16
"""Probabilities are whole numbers of 1 / PARTS."""

LATENCY_MIN, LATENCY_MAX = 2, 10_000
"""Cycles from an address to the first beat that the model can be asked for."""

_LATENCY = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")

WITHHELD_MAX = 90
"""Most percent of the cycles in which the model may be asked to withhold beats."""


def memory_name(model: int) -> str:
    """File of a run's memory, by number of the model whose image it is."""
    return f"memory{model}.bin"


def read_latency(text: str) -> tuple[int, int]:
    """Least and most cycles, of a text such as 60:200.

    Raises
    ------
    InputError
        If it is not two numbers.
    """
    match = _LATENCY.fullmatch(text)
    if match is None:
        raise InputError(f"--latency must be LOW:HIGH cycles, such as 60:200, got {text}")
    return int(match[1]), int(match[2])


def check_simulator(design: Design, simulator: str) -> None:
    """InputError, before anything is built, if a simulator has not what a design needs.

    That is a model of its external memory, or what records the logits that it does not store.
    """
    if design.external is not None and simulator != "verilator":
        raise InputError(
            f"{simulator} cannot simulate the external memory {design.memory}, whose model is in"
            " C++: use verilator"
        )
    if not design.stores_logits and simulator != "verilator":
        raise InputError(
            f"{simulator} cannot record the logits, which the design does not store: use verilator"
        )


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a memory behaves.

    ``base``: address of its first byte. ``latency``: least and most cycles from an address to the
    first beat of its burst, if no other burst's are left. ``withheld``, ``address_withheld``:
    percent of the cycles in which it gives no beat, or takes no address. ``seed``: of what is
    random. ``bus_ns``: period of the memory's own clock, None if it is the chip's.

    Raises
    ------
    InputError
        If there is no such memory.
    """

    base: int = 0x12_3456_7000
    latency: tuple[int, int] = (60, 200)
    withheld: float = 0.0
    address_withheld: float = 25.0
    seed: int = 0
    bus_ns: float | None = None

    def __post_init__(self) -> None:
        if self.base % PAGE_BYTES or not 0 <= self.base < 1 << ADDRESS_BITS:
            raise InputError(
                f"the base of a memory must be a multiple of {PAGE_BYTES} below 2^{ADDRESS_BITS},"
                f" got {self.base:#x}"
            )
        low, high = self.latency
        if not LATENCY_MIN <= low <= high <= LATENCY_MAX:
            raise InputError(
                f"--latency must be LOW:HIGH cycles in {LATENCY_MIN}..{LATENCY_MAX}, got"
                f" {low}:{high}"
            )
        for name, percent in (
            ("--withheld", self.withheld),
            ("address_withheld", self.address_withheld),
        ):
            if not 0 <= percent <= WITHHELD_MAX:
                raise InputError(
                    f"{name} must lie in 0..{WITHHELD_MAX} percent of the cycles, got {percent:g}"
                )

    def pins(self) -> dict[str, int]:
        """Values of INPUTS: all that do not stand here are 0."""
        low, high = self.latency
        return {
            "memory_base": self.base,
            "memory_latency_low": low,
            "memory_latency_high": high,
            "memory_address_withheld": round(self.address_withheld * PARTS / 100),
            "memory_withheld": round(self.withheld * PARTS / 100),
            "memory_seed": self.seed & 0xFFFF_FFFF,
        }


@dataclass(frozen=True)
class PortCounters:
    """What a port counted since its reset (``axi_memory.sv``)."""

    beats: int
    bursts: int
    cycles: int
    throttled: int

    @property
    def open_share(self) -> float:
        """Share of the cycles in which the port was not throttled."""
        return 1 - self.throttled / self.cycles if self.cycles else 1.0


def place_files(base: int, num_bytes: Iterable[int]) -> list[int]:
    """The address of each file of a memory, whose lengths are given."""
    places = []
    for length in num_bytes:
        places.append(base)
        base += -(-length // PAGE_BYTES) * PAGE_BYTES
    return places
