"""What an estimate rests on: the clock and the cells of a design, as built or as expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hdl.planning.cost import clock_hz
from hdl.planning.fit import find_shortage
from hdl.toolchain import families
from hdl.toolchain.built import Built
from hdl.toolchain.counts import Count, block_count, estimated_count
from mmfree.chip.design import Design
from mmfree.errors import InputError
from sim.power.coefficients import KINDS_OF_CELLS, Part, known_parts

ASSUMED_CLOCK_HZ = 100e6
"""Clock of a part for which no design was routed."""

FASTEST_HZ = 1e9
"""Beyond the clock networks of all parts here."""

_ROOMY = 3
"""Most parts that a message names."""

PROJECTED = "projected: designs of other sizes after routing (docs/accelerator.md)"
ASSUMED = "assumed: nothing was routed for this part"


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock, where it comes from, and the fastest that was reached (None: not known)."""

    hz: float
    label: str
    limit_hz: float | None


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells by block, all counts of them that are known, and in words which one it is."""

    areas: Mapping[str, families.Area]
    counts: tuple[Count, ...]
    text: str


def clock_of(part: Part, design: Design, asked_hz: float | None, built: Built | None) -> Clock:
    """The clock asked for; without one, that at which a build's PLL runs the chip.

    Without a build, the one that designs reached on the part, or ASSUMED_CLOCK_HZ.

    Raises
    ------
    InputError
        If more is asked for than was reached.
    """
    if built is not None:
        return _clock_of_build(built, asked_hz)
    if part.family != "ecp5":
        hz = ASSUMED_CLOCK_HZ if asked_hz is None else asked_hz
        if hz > FASTEST_HZ:
            raise InputError(
                f"--clock: no FPGA's clock network goes beyond {FASTEST_HZ / 1e6:,.0f} MHz, got"
                f" {hz / 1e6:g}"
            )
        return Clock(hz=hz, label=ASSUMED, limit_hz=None)
    limit_hz = clock_hz(design.lanes)
    if asked_hz is None:
        return Clock(hz=limit_hz, label=PROJECTED, limit_hz=limit_hz)
    return _within(limit_hz, asked_hz, PROJECTED)


def _clock_of_build(built: Built, asked_hz: float | None) -> Clock:
    pll, routed = f"{built.pll_hz / 1e6:g} MHz", f"{built.routed_hz / 1e6:.1f} MHz"
    if asked_hz is not None:
        return _within(built.routed_hz, asked_hz, f"post-route, this build, whose PLL makes {pll}")
    label = f"this build's PLL; routed for up to {routed}"
    if built.pll_hz > built.routed_hz:
        label = f"this build's PLL, ABOVE the {routed} it is routed for: it may compute wrongly"
    return Clock(hz=built.pll_hz, label=label, limit_hz=built.routed_hz)


def _within(limit_hz: float, asked_hz: float, label: str) -> Clock:
    reached = f"{limit_hz / 1e6:.1f} MHz"
    if asked_hz > limit_hz:
        raise InputError(
            f"--clock: {asked_hz / 1e6:g} MHz is above what was reached, {reached} ({label})"
        )
    return Clock(hz=asked_hz, label=f"asked for; reached: {reached}, {label}", limit_hz=limit_hz)


def refuse_small_part(part: Part, design: Design) -> None:
    """InputError, before anything is simulated or synthesized, if a design cannot fit a part.

    The message names parts that may have room, those of the same family first.
    """
    shortage = find_shortage(design, part.family, part.capacity)
    if shortage is None:
        return
    parts = sorted(known_parts().values(), key=lambda other: other.family != part.family)
    roomy = [
        other.name for other in parts if find_shortage(design, other.family, other.capacity) is None
    ]
    room = f"; {', '.join(roomy[:_ROOMY])} may have room" if roomy else "; no part here has room"
    remedy = "fewer --lanes"
    if shortage.kind == "ram_blocks":
        remedy += " (less padding), --bits 1.6, a smaller model"
    raise InputError(
        f"--part {part.name}: {design.lanes:,} lanes need at least {shortage.needed:,}"
        f" {KINDS_OF_CELLS[shortage.kind]} (estimated), and the part has {shortage.available:,};"
        f" take {remedy}, or another part{room}"
    )


def cells_of(part: Part, design: Design, built: Built | None, source: Path | None = None) -> Cells:
    """Cells by block: together as many as a build has after routing, else as Yosys estimates.

    ``source``: the folder of the build, for messages.

    Raises
    ------
    InputError
        If the counts of the build cannot be of this design.
    """
    areas = families.area_by_block(design, part.family)
    counts = [estimated_count(design)] if part.family == "ecp5" else []
    counts.append(block_count(areas))
    if built is None:
        text = "cells: Yosys estimate by block, neither placed nor routed"
        return Cells(areas=areas, counts=tuple(counts), text=text)
    whole = built.routed
    try:
        areas = families.with_totals(
            areas, luts=whole.luts, flip_flops=whole.flip_flops, ram_blocks=whole.ram_blocks
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    text = (
        f"cells: as routed in this build, {whole.luts:,} LUTs and {whole.flip_flops:,} flip-flops,"
        " shared among the accelerator's blocks in the proportion of Yosys' estimate; the board's"
        " serial link and registers so count as if they switched like the accelerator"
    )
    return Cells(areas=areas, counts=(*counts, *built.counts), text=text)
