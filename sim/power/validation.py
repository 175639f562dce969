"""Published systems: power predicted from their sizes, clocks and rates, and what authors give."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from hdl.toolchain.families import Area
from sim.power.coefficients import (
    TECHNOLOGY,
    Part,
    Quantity,
    load_part,
    load_quantities,
    quantities,
)
from sim.power.interval import Interval, Values, interval

NOTHING = Quantity(0.0, 0.0, 0.0, "W", "V", "nothing besides")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is known of a system that nobody simulated: cells, clock, and what it reads.

    Parameters
    ----------
    area
        Cells, of each of ``devices`` parts.
    static
        Whether the parts' static power is asked for, too.
    clocks
        Whether the flip-flops' clock is; it may run while a system is idle.
    memory, bytes_per_second
        External memory (technology/memories.toml), and how much of it is read; None: none.
    base
        Power besides.
    """

    area: Area
    clock_hz: float
    static: bool = True
    clocks: bool = True
    devices: int = 1
    memory: str | None = None
    bytes_per_second: float = 0.0
    base: Quantity = NOTHING


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A published system.

    ``held_out``: when coefficients were chosen. ``kind``: published by a "tool" or a "meter".
    ``what``: the power is of. ``watts``: predicted. ``source``: of ``published``, in watts.
    """

    name: str
    held_out: bool
    kind: str
    what: str
    watts: Interval
    published: float
    source: str

    @property
    def inside(self) -> bool:
        """Whether the published value lies in the interval."""
        return self.watts.low <= self.published <= self.watts.high

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, watts."""
        return {
            "name": self.name,
            "held_out": self.held_out,
            "low": self.watts.low,
            "best": self.watts.best,
            "high": self.watts.high,
            "published": self.published,
            "inside": self.inside,
            "kind": self.kind,
            "what": self.what,
            "source": self.source,
        }


def predictions() -> list[Prediction]:
    """All published systems."""
    table = tomllib.loads((TECHNOLOGY / "published.toml").read_text(encoding="utf-8"))
    return [_predict(entry) for entry in table["systems"]]


def _predict(entry: dict[str, Any]) -> Prediction:
    base, external = entry.get("base"), entry.get("external", {})
    sizes = Sizes(
        area=Area(
            **{
                name: entry.get(name, 0)
                for name in ("luts", "flip_flops", "ram_blocks", "uram", "dsp")
            }
        ),
        clock_hz=entry["clock_hz"],
        static=entry["static"],
        clocks=entry.get("clocks", True),
        devices=entry.get("devices", 1),
        memory=external.get("memory"),
        bytes_per_second=external.get("bytes_per_second", 0.0),
        base=NOTHING if base is None else quantities({"base": base}, entry["name"])["base"],
    )
    return Prediction(
        name=entry["name"],
        held_out=entry["held_out"],
        kind=entry["kind"],
        what=entry["what"],
        watts=watts_of(load_part(entry["part"]), sizes),
        published=entry["published"],
        source=entry["source"],
    )


def watts_of(part: Part, sizes: Sizes) -> Interval:
    """Power of a system of which only sizes are known: activity, enabled RAMs and busy DSP blocks
    come from three wide coefficients.
    """
    found: dict[str, Quantity] = (
        part.coefficients
        | load_quantities("model", "model")
        | load_quantities("model", "published")
        | {"base": sizes.base}
    )
    if sizes.memory is not None:
        found["external_bit"] = load_quantities("memories", "memories")[sizes.memory]
    area = sizes.area

    def watts(values: Values) -> float:
        toggles = values["rate"] * (
            area.luts * (values["lut_toggle"] + values["net_toggle"])
            + area.flip_flops * (values["ff_toggle"] + values["net_toggle"])
        )
        cycle = (
            toggles
            + area.flip_flops * values["ff_clock"] * sizes.clocks
            + values["ram_duty"]
            * (area.ram_blocks * values["ram_access"] + area.uram * values["uram_access"])
            + values["dsp_duty"] * area.dsp * values["dsp_op"]
        )
        power = values["base"] + 1e-12 * cycle * values["scale"] * sizes.clock_hz
        bits_per_second = 8 * sizes.bytes_per_second
        power += 1e-12 * bits_per_second * values.get("external_bit", 0.0)
        return sizes.devices * (power + values["static"] * sizes.static)

    return interval(watts, found)
