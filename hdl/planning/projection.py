"""How fast a model would run on a part: the fastest design that fits, before anything is built.

Cycles are those of the cost model, which equal the chip's; cells are its estimates; clock and
memory are facts of the part (parts.toml), of which some are assumed. So it is no measurement.

    time of a token = the longer of  cycles / clock  and  bytes of the image / rate of the memory

The second one is right as long as the rings bridge the memory's pauses: in simulation a token takes
99.9 % of the time that the rate allows (docs/decisions/0022).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from hdl.planning.cost import clock_hz, routed_rows
from hdl.planning.cycles import segment_cycles
from hdl.planning.fit import Shortage, usual_cells
from hdl.planning.memories import memory_bits
from hdl.planning.parts import Fact, Memory, Part
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ExternalMemory, find_memory
from mmfree.chip.memory_image import image_regions
from mmfree.chip.memory_map import row_beats
from mmfree.chip.sizing import design_for_memory, design_for_model, stream_words
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.contract.shape import AnyConfig

USABLE = {"luts": 0.8, "flip_flops": 0.8, "ram_blocks": 1.0}
"""Shares of a part's cells to plan with: fuller parts route slowly, or not at all (assumed)."""

_GAIN = 1.02
"""A larger design is taken if it is faster by this factor."""

_FEWEST_LANES, _LUTS_PER_LANE = 16, 10
"""The smallest design in block RAM, and the fewest LUTs that a lane of any design takes."""

_HOPELESS = 2
"""Times a part's block RAM: more is not placed, only to say how many blocks it would take."""

_DENSE_LANES = 256
"""Of a design whose words hold hardly more than its weights."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A design on a part.

    Parameters
    ----------
    design
        The fastest one that fits; if none fits, the one that lacks least.
    memory
        Of the board, that the design reads; None: its image is in block RAM.
    cells, usable
        By kind: what it takes, with the memory's controller, and how many of the part's it may.
    shortages
        Of what there is too little; none if it fits.
    clock
        In Hz.
    cycles, beats
        Of a token, and those of them in which the lanes have weights.
    token_bytes, image_bytes
        Read from the memory for a token, and stored in it; 0 in block RAM.
    """

    part: Part
    design: Design
    memory: Memory | None
    cells: dict[str, int]
    usable: dict[str, int]
    shortages: tuple[Shortage, ...]
    clock: Fact
    cycles: int
    beats: int
    token_bytes: int
    image_bytes: int

    @property
    def fits(self) -> bool:
        """Whether nothing is missing."""
        return not self.shortages

    @property
    def array_seconds(self) -> float:
        """Of a token, if the memory never lets the array wait."""
        return self.cycles / self.clock.value

    @property
    def needed_bytes_per_second(self) -> float:
        """What the array would read, if the memory never let it wait."""
        return self.token_bytes / self.array_seconds

    def available_bytes_per_second(self, rate: Fact) -> float:
        """What the design's ports have of a rate of the memory."""
        external = self.design.external
        assert self.memory is not None
        assert external is not None
        return self.memory.available(external.ports, rate)

    def tokens_per_second(self, rate: Fact | None = None) -> float:
        """One sequence, head and embedding included, at a rate of the memory (None: the first)."""
        if self.memory is None:
            return 1 / self.array_seconds
        available = self.available_bytes_per_second(rate or self.memory.rates[0])
        return 1 / max(self.array_seconds, self.token_bytes / available)

    def sufficient_clock_hz(self, rate: Fact) -> float:
        """The lowest clock with which the array takes all that a rate of the memory gives."""
        return self.cycles * self.available_bytes_per_second(rate) / self.token_bytes

    @property
    def memory_tokens_per_second(self) -> float | None:
        """What the memory allows; None: there is none."""
        if self.memory is None:
            return None
        return self.available_bytes_per_second(self.memory.rates[0]) / self.token_bytes

    @property
    def limited_by(self) -> str:
        """What a faster chip would need first.

        "memory": its rate. "bubbles": less time between segments, in which no lane works; without
        it, it would gain more than by twice the lanes. "array": more lanes, or a faster clock.
        """
        if self.tokens_per_second() < 0.999 / self.array_seconds:
            return "memory"
        return "bubbles" if self.cycles - self.beats > self.beats / 2 else "array"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types. What holds of a design that does not fit is None but for its size."""
        memory, fits, design = self.memory, self.fits, self.design
        return {
            "part": self.part.name,
            "board": self.part.board,
            "device": self.part.device_name,
            "label": "projected",
            "fits": fits,
            "limited_by": self.limited_by if fits else None,
            "lanes": design.lanes,
            "clock_hz": self.clock.value,
            "cycles_per_token": self.cycles,
            "tokens_per_second": self.tokens_per_second() if fits else None,
            "shortages": [
                {
                    "kind": s.kind,
                    "needed": s.needed,
                    "available": s.available,
                    "missing": s.missing,
                }
                for s in self.shortages
            ],
            "clock": self.clock.to_dict(),
            "memory": design.memory,
            "memory_name": None if memory is None else memory.name,
            "token_bytes": self.token_bytes,
            "image_bytes": self.image_bytes,
            "needed_bytes_per_second": self.needed_bytes_per_second,
            "rates": [
                rate.to_dict()
                | {
                    "bytes_per_second": self.available_bytes_per_second(rate),
                    "tokens_per_second": self.tokens_per_second(rate) if fits else None,
                    "sufficient_clock_hz": self.sufficient_clock_hz(rate),
                }
                for rate in (() if memory is None else memory.rates)
            ],
            "cells": {
                kind: {"needed": count, "usable": self.usable[kind]}
                for kind, count in self.cells.items()
            },
            "design": design.to_dict(),
        }


def project(config: AnyConfig, part: Part, memory: str | None = None) -> Projection:
    """The fastest design that fits a part, or the one that lacks least.

    Parameters
    ----------
    config
        The model's shape.
    memory
        "block", or the ports of an external memory ("axi128x4"); None: block RAM if all of it fits
        there, else the fastest ports that the board's memories have.

    Raises
    ------
    InputError
        If there is no such memory.
    """
    if memory is None:
        inside = _inside(config, part)
        return inside if inside.fits or not part.memories else _outside(config, part, None)
    external = find_memory(memory)
    return _inside(config, part) if external is None else _outside(config, part, external)


def _inside(config: AnyConfig, part: Part) -> Projection:
    """With the whole image in block RAM."""
    if 1.6 * config.num_ternary_weights > part.block_ram_bits:
        return _planned(config, part, _block_design(config, _DENSE_LANES, "1.6"), None)
    return _fastest(
        _planned(config, part, design, None)
        for code in WEIGHT_CODES
        for design in _block_designs(config, part, code)
    )


def _block_designs(config: AnyConfig, part: Part, code: str) -> Iterator[Design]:
    """Of rising lanes, as long as there may be LUTs for them."""
    lanes = _FEWEST_LANES
    while lanes == _FEWEST_LANES or _LUTS_PER_LANE * lanes < part.capacity["luts"]:
        yield _block_design(config, lanes, code)
        lanes *= 2


def _outside(config: AnyConfig, part: Part, asked: ExternalMemory | None) -> Projection:
    """With the image in one of the board's memories, read through ports that it has."""
    found = []
    for memory in part.memories:
        if asked is not None:
            externals = [asked]
        else:
            counts = (1 << n for n in range(memory.most_ports.bit_length()))
            externals = [
                ExternalMemory(port_bits=bits, ports=ports)
                for ports in counts
                for bits in memory.port_bits
            ]
        found.append(_fastest_ports(config, part, memory, externals))
    if not found:
        # A board without an external memory: the ports have nothing to read.
        external = asked or ExternalMemory(port_bits=64, ports=1)
        return _planned(config, part, _external_design(config, external), None)
    return _fastest(found)


def _fastest_ports(
    config: AnyConfig, part: Part, memory: Memory, externals: list[ExternalMemory]
) -> Projection:
    """Of designs that read a memory, those first that may be fast, until no other can be faster."""

    def most(external: ExternalMemory) -> float:
        design = _external_design(config, external)
        seconds = config.num_ternary_weights / design.lanes / _clock(part, design).value
        rate = memory.available(external.ports, memory.rates[0])
        return 1 / max(seconds, _token_bytes(config, design) / rate)

    plans: list[Projection] = []
    reached = 0.0
    for external in sorted(externals, key=lambda item: (-most(item), item.lanes)):
        if _GAIN * most(external) < reached:
            break
        plans.append(_planned(config, part, _external_design(config, external), memory))
        if plans[-1].fits:
            reached = max(reached, plans[-1].tokens_per_second())
    return _fastest(plans)


def _fastest(plans: Iterable[Projection]) -> Projection:
    """The fastest that fits, but no larger one for a gain below _GAIN; else what lacks least."""
    known = sorted(plans, key=lambda plan: plan.design.lanes)
    fitting = [plan for plan in known if plan.fits]
    if not fitting:
        return min(known, key=_lack)
    most = max(plan.tokens_per_second() for plan in fitting)
    return next(plan for plan in fitting if plan.tokens_per_second() * _GAIN >= most)


def _lack(plan: Projection) -> float:
    """How many times what there is a design needs, of what it lacks most."""
    return max(s.needed / max(1, s.available) for s in plan.shortages)


def _planned(config: AnyConfig, part: Part, design: Design, memory: Memory | None) -> Projection:
    usable = {kind: int(share * part.capacity[kind]) for kind, share in USABLE.items()}
    cells, shortages = _count_cells(part, design, memory, usable)
    cycles, beats = _cycles(config, design)
    token_bytes = image_bytes = 0
    if (external := design.external) is not None:
        token_bytes, words = _token_bytes(config, design), stream_words(config, design)
        _, image_bytes = image_regions(design, words, config.vocab_size)
        shortages += _lacking_ports(external, memory)
        if memory is not None and image_bytes > memory.capacity_bytes:
            shortages.append(
                Shortage(kind="memory_bytes", needed=image_bytes, available=memory.capacity_bytes)
            )
    return Projection(
        part=part,
        design=design,
        memory=memory,
        cells=cells,
        usable=usable,
        shortages=tuple(shortages),
        clock=_clock(part, design),
        cycles=cycles,
        beats=beats,
        token_bytes=token_bytes,
        image_bytes=image_bytes,
    )


def _count_cells(
    part: Part, design: Design, memory: Memory | None, usable: dict[str, int]
) -> tuple[dict[str, int], list[Shortage]]:
    """Cells by kind, and of which there are too few; none where memories are far too large."""
    bits = memory_bits(design)
    if bits > _HOPELESS * part.block_ram_bits:
        return {}, [Shortage(kind="ram_bits", needed=bits, available=part.block_ram_bits)]
    cells = dict(_usual_cells(design, part.family))
    for kind, count in ({} if memory is None else memory.controller).items():
        cells[kind] += count
    short = [
        Shortage(kind=kind, needed=count, available=usable[kind])
        for kind, count in cells.items()
        if count > usable[kind]
    ]
    return cells, short


def _lacking_ports(external: ExternalMemory, memory: Memory | None) -> list[Shortage]:
    """Ports that a design has, and a memory (None: there is none) has not."""
    if memory is None:
        return [Shortage(kind="ports", needed=external.ports, available=0)]
    found = []
    if external.ports > memory.most_ports:
        found.append(Shortage(kind="ports", needed=external.ports, available=memory.most_ports))
    if external.port_bits > (widest := max(memory.port_bits)):
        found.append(Shortage(kind="port_bits", needed=external.port_bits, available=widest))
    return found


@cache
def _block_design(config: AnyConfig, lanes: int, code: str) -> Design:
    return design_for_model(config, lanes, code)


@cache
def _external_design(config: AnyConfig, external: ExternalMemory) -> Design:
    return design_for_memory(config, external)


@cache
def _usual_cells(design: Design, family: str) -> dict[str, int]:
    return usual_cells(design, family)


@cache
def _cycles(config: AnyConfig, design: Design) -> tuple[int, int]:
    """Of a token, and those in which a tile is admitted."""
    segments = segment_cycles(config, design)
    return sum(s.cycles for s in segments), sum(s.beats for s in segments)


@cache
def _token_bytes(config: AnyConfig, design: Design) -> int:
    """Bytes that a design reads of its image for a token: all words, and a row of the embedding."""
    external = design.external
    assert external is not None
    beats = external.ports * stream_words(config, design) + row_beats(design)
    return external.port_bytes * beats


def _clock(part: Part, design: Design) -> Fact:
    """In Hz: of designs that were routed, or assumed."""
    if part.clock is not None:
        return part.clock
    lanes = sorted(row["lanes"] for row in routed_rows())
    reached = (
        ""
        if lanes[0] <= design.lanes <= lanes[-1] and design.external is None
        else ("the nearest of ")
    )
    return Fact(
        value=clock_hz(design.lanes),
        label="D",
        source=(
            f"{reached}designs of {lanes[0]} to {lanes[-1]} lanes with weights in block RAM, routed"
            " for an LFE5U-85F of speed grade 6 (hdl/planning/measured/routed.json)"
        ),
    )
