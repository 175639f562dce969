"""Watts and joules per token of an accelerator on a part, estimated with an interval.

From cells of a synthesis, simulated activity and published coefficients:

    E(block) = cells of the block x how often they switch x energy of a switching

Every coefficient (sim/power/technology) has a low and a high value: see sim/power/interval.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from hdl.planning.cycles import SegmentCycles
from hdl.toolchain.families import Area
from mmfree.errors import InputError
from sim.power.activity import Activity, BlockActivity
from sim.power.coefficients import KINDS_OF_CELLS, Part, Quantity, load_quantities
from sim.power.interval import Interval, Values, interval

KINDS = ("static", "clock", "logic", "routing", "memory", "dsp", "external")
"""What energy goes into, in this order.

Leakage and PLL; clock network and flip-flops' clock pins; LUTs and flip-flops; nets; block RAM,
UltraRAM and distributed RAM; DSP blocks; external memory.
"""

REPORT_RATE = 0.125
"""Toggles per bit and cycle of the reports that block RAM coefficients come from: their default."""

MAX_READ_RATIO = 2.0
"""Beyond twice that rate nothing is known: a block RAM's energy is taken to grow no further."""

STREAMING = ("array", "activations", "decoder", "source", "weight_check")
"""Blocks that work on tiles of weights.

Their energy is shared among segments by tiles, that of all others by cycles.
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a design does in a token.

    ``areas``, ``activity``: cells, and what switched in ``activity_cycles`` cycles, by block.
    ``cycles``: of a token. ``mean_rate``: toggles per register and cycle of a block for which the
    activity has no registers. ``busy``: share of the cycles in which the lanes, and so DSP blocks,
    have something to do. ``external_bits``: read from external memory.
    """

    areas: Mapping[str, Area]
    activity: Mapping[str, BlockActivity]
    activity_cycles: int
    cycles: float
    mean_rate: float = 0.0
    busy: float = 1.0
    external_bits: float = 0.0

    @classmethod
    def of(
        cls, areas: Mapping[str, Area], activity: Activity, segments: list[SegmentCycles]
    ) -> Load:
        """The load of one sequence with the weights on the chip."""
        return cls(
            areas=areas,
            activity=activity.blocks,
            activity_cycles=activity.cycles,
            cycles=activity.cycles_per_token,
            mean_rate=activity.toggle_rate,
            busy=sum(s.beats for s in segments) / sum(s.cycles for s in segments),
        )

    def joules(self, name: str, values: Values) -> dict[str, float]:
        """Joules per token of a block, by kind, with coefficients ``values``."""
        area, block = self.areas.get(name, Area()), self.activity.get(name, BlockActivity())
        rate = block.toggle_rate(self.activity_cycles, self.mean_rate)
        # A block RAM that is not enabled takes nothing, and its outputs change only when it reads.
        read_rate = block.read_toggles / block.reads if block.reads else REPORT_RATE
        reading = (area.ram_blocks - area.disabled_blocks) * block.read_share(self.activity_cycles)
        register_toggles = area.flip_flops * rate
        lut_toggles = area.luts * rate * values["lut_rate"] * values["glitches"]
        still = values["ram_still"]
        ram_share = still + (1 - still) * min(read_rate / REPORT_RATE, MAX_READ_RATIO)
        picojoules = {
            "clock": area.flip_flops * values["ff_clock"],
            "logic": lut_toggles * values["lut_toggle"] + register_toggles * values["ff_toggle"],
            "routing": (lut_toggles + register_toggles) * values["net_toggle"],
            "memory": (
                (reading * values["ram_access"] + area.uram * values["uram_access"]) * ram_share
                + area.lut_rams * values["lutram_cycle"]
            ),
            "dsp": self.busy * area.dsp * values["dsp_op"] * values["dsp_8_bits"],
        }
        return {
            kind: 1e-12 * energy * values["scale"] * self.cycles
            for kind, energy in picojoules.items()
        }

    @property
    def blocks(self) -> list[str]:
        """Names of all blocks."""
        return sorted(self.areas)


@dataclass(frozen=True, kw_only=True)
class Power:
    """An estimate.

    Joules are per token. ``by_kind`` (KINDS), ``by_block`` ("whole chip": static, PLL, clock net,
    external memory) and ``by_segment`` each add up to ``joules_per_token``.
    """

    part: str
    device: str
    clock_hz: float
    clock_label: str
    cycles_per_token: float
    tokens_per_second: float
    watts: Interval
    joules_per_token: Interval
    by_kind: dict[str, Interval]
    by_block: dict[str, Interval]
    by_segment: dict[str, Interval]
    utilisation: dict[str, tuple[float, int]]
    assumptions: tuple[str, ...]
    label: str = "estimated"

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types."""
        return asdict(self)


def estimate(
    part: Part,
    load: Load,
    clock_hz: float,
    *,
    clock_label: str,
    segments: list[SegmentCycles],
    assumptions: tuple[str, ...] = (),
    external: Quantity | None = None,
) -> Power:
    """Power of a load on a part at a clock.

    Parameters
    ----------
    segments
        Cycles of every segment (``hdl.planning.cost.segment_cycles``), by which energy is shared
        among them.
    external
        Energy per bit of the external memory, if the load reads one.

    Raises
    ------
    InputError
        If the design does not fit the part, or the clock is not positive.
    """
    if not (math.isfinite(clock_hz) and clock_hz > 0):
        raise InputError(f"the clock must be positive, got {clock_hz / 1e6} MHz")
    utilisation = _utilisation(part, load)
    quantities = part.coefficients | load_quantities("model", "model")
    if external is not None:
        quantities["external_bit"] = external
    seconds = load.cycles / clock_hz

    def whole_chip(values: Values) -> dict[str, float]:
        return {
            "static": (values["static"] + values["pll"]) * seconds,
            "clock": 1e-12 * values["clock_net"] * values["scale"] * load.cycles,
            "external": 1e-12 * load.external_bits * values.get("external_bit", 0.0),
        }

    def by_block(values: Values) -> dict[str, dict[str, float]]:
        return {"whole chip": whole_chip(values)} | {
            name: load.joules(name, values) for name in load.blocks
        }

    def total(values: Values) -> float:
        return sum(sum(block.values()) for block in by_block(values).values())

    def of_kind(kind: str) -> Callable[[Values], float]:
        return lambda values: sum(block.get(kind, 0.0) for block in by_block(values).values())

    def of_block(name: str) -> Callable[[Values], float]:
        return lambda values: sum(by_block(values)[name].values())

    def of_segment(segment: SegmentCycles) -> Callable[[Values], float]:
        cycles = segment.cycles / sum(s.cycles for s in segments)
        beats = segment.beats / max(1, sum(s.beats for s in segments))
        return lambda values: sum(
            sum(block.values()) * (beats if name in STREAMING else cycles)
            for name, block in by_block(values).items()
        )

    joules = interval(total, quantities)
    return Power(
        part=part.name,
        device=part.device,
        clock_hz=clock_hz,
        clock_label=clock_label,
        cycles_per_token=load.cycles,
        tokens_per_second=1 / seconds,
        watts=joules * (1 / seconds),
        joules_per_token=joules,
        by_kind={kind: interval(of_kind(kind), quantities) for kind in KINDS},
        by_block={
            name: interval(of_block(name), quantities) for name in ("whole chip", *load.blocks)
        },
        by_segment={
            segment.name: interval(of_segment(segment), quantities) for segment in segments
        },
        utilisation=utilisation,
        assumptions=assumptions,
    )


def _utilisation(part: Part, load: Load) -> dict[str, tuple[float, int]]:
    """Used and available cells; InputError if there are too few."""
    areas = load.areas.values()
    used = {
        "luts": sum(area.luts + area.lut_rams for area in areas),
        "flip_flops": sum(area.flip_flops for area in areas),
        "ram_blocks": math.ceil(sum(area.ram_blocks for area in areas)),
        "dsp": sum(area.dsp for area in areas),
    }
    for name, count in used.items():
        if count > part.capacity[name]:
            raise InputError(
                f"{part.name}: the design needs {count:,} {KINDS_OF_CELLS[name]}, and the part"
                f" has {part.capacity[name]:,}: take fewer --lanes, another --bits, or a larger"
                " part"
            )
    return {name: (count, part.capacity[name]) for name, count in used.items()}
