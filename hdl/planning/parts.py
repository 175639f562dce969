"""Parts and boards with their memories, and what others publish on them: facts with their sources.

parts.toml and peers.toml beside this file; labels as in sim/power/technology, and A for what is
assumed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmfree.errors import not_one_of

PARTS, PEERS = (Path(__file__).parent / name for name in ("parts.toml", "peers.toml"))

LABELS = {
    "V": "read in the primary source",
    "S": "quoted by another source",
    "D": "derived",
    "K": "recalled",
    "A": "assumed",
}

BLOCK_RAM_BITS = {"ecp5": 18 << 10, "xcup": 36 << 10}
"""Bits of a block RAM, by family."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A number, how sure it is (LABELS), and where it comes from."""

    value: float
    label: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"value": self.value, "label": self.label, "source": self.source}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """An external memory of a board.

    Parameters
    ----------
    kind
        Of sim/power/technology/memories.toml: what a bit costs that is read.
    name
        For people.
    port_bits, most_ports
        Widths and number of the ports that a design may have.
    channels
        Of which a port reads one: fewer ports have a share of the rate.
    capacity_bytes
        Of all channels.
    peak, rates
        Bytes per second, of all channels: of the interface, and what a design may count on. The
        first rate is the one to project with.
    controller
        Cells of the part that the memory's controller takes.
    """

    kind: str
    name: str
    port_bits: tuple[int, ...]
    most_ports: int
    channels: int
    capacity: Fact
    peak: Fact
    rates: tuple[Fact, ...]
    controller: dict[str, int]
    sources: dict[str, str]

    @property
    def capacity_bytes(self) -> int:
        """What it holds."""
        return int(self.capacity.value)

    def available(self, ports: int, rate: Fact) -> float:
        """Bytes per second that so many ports have of a rate."""
        return rate.value * min(ports, self.channels) / self.channels


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an FPGA family, on a board or alone.

    ``device``: its name in sim/power/technology. ``capacity``: kind of cell -> how many it has.
    ``clock``: assumed, in Hz; None where designs of ours were routed.
    """

    name: str
    board: str
    device: str
    device_name: str
    family: str
    capacity: dict[str, int]
    capacity_source: str
    clock: Fact | None
    memories: tuple[Memory, ...]

    @property
    def block_ram_bits(self) -> int:
        """Bits of all its block RAMs."""
        return self.capacity["ram_blocks"] * BLOCK_RAM_BITS[self.family]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What others publish for a ternary model on a part.

    ``model``: a shape's name, or another model's. ``weights``: ternary, read for a token.
    ``streams``: of how many sequences the rate is, and how many share what is read: "1", "1 of 41",
    "all 16". ``excludes``: what of a token the figure leaves out.
    """

    name: str
    part: str
    model: str
    weights: int
    streams: str
    tokens_per_second: float
    clock_hz: float
    excludes: str
    label: str
    source: str

    @property
    def full_name(self) -> str:
        """With the model, if it is none of MODELS."""
        return self.name if self.model in MODELS else f"{self.name} ({self.model})"


MODELS = ("370m", "1.3b", "2.7b")
"""Models that are compared with their own kind alone (mmfree.inference.shapes)."""


@cache
def known_parts() -> dict[str, Part]:
    """All parts, by name, in the order of the file."""
    table = tomllib.loads(PARTS.read_text(encoding="utf-8"))
    devices = table["devices"]
    return {
        name: _part(name, entry, devices[entry["device"]]) for name, entry in table["parts"].items()
    }


def find_part(name: str) -> Part:
    """A part by its name; InputError if there is none."""
    parts = known_parts()
    if name not in parts:
        raise not_one_of("--part", name, [*parts, "all"])
    return parts[name]


@cache
def known_peers() -> tuple[Peer, ...]:
    """What others publish, in the order of the file."""
    table = tomllib.loads(PEERS.read_text(encoding="utf-8"))
    return tuple(Peer(**entry) for entry in table["peers"])


def peers_of(part: Part, model: str, weights: int) -> list[Peer]:
    """Those on a part with the same model, or with another of about its size (half to twice)."""
    return [
        peer
        for peer in known_peers()
        if peer.part == part.name
        and (
            peer.model == model
            or (peer.model not in MODELS and weights <= 2 * peer.weights <= 4 * weights)
        )
    ]


def _part(name: str, entry: dict[str, Any], device: dict[str, Any]) -> Part:
    capacity = dict(device["capacity"])
    label, source = capacity.pop("label"), capacity.pop("source")
    return Part(
        name=name,
        board=entry["board"],
        device=entry["device"],
        device_name=device["device"],
        family=device["family"],
        capacity=capacity,
        capacity_source=f"{source} ({label})",
        clock=Fact(**device["clock"]) if "clock" in device else None,
        memories=tuple(_memory(memory) for memory in entry.get("memories", [])),
    )


def _memory(entry: dict[str, Any]) -> Memory:
    controller = dict(entry["controller"])
    sources = {
        name: f"{table['source']} ({table['label']})"
        for name, table in (("ports", entry["ports"]), ("controller", entry["controller"]))
    }
    return Memory(
        kind=entry["kind"],
        name=entry["name"],
        port_bits=tuple(entry["ports"]["bits"]),
        most_ports=entry["ports"]["most"],
        channels=entry["channels"],
        capacity=Fact(**entry["capacity"]),
        peak=Fact(**entry["peak"]),
        rates=tuple(Fact(**rate) for rate in entry["rates"]),
        controller={kind: controller[kind] for kind in ("luts", "flip_flops", "ram_blocks")},
        sources=sources,
    )
