"""Published systems: power predicted from their sizes, clocks and rates, and what authors give."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from hdl.toolchain.families import Area
from sim.power.coefficients import TECHNOLOGY, Quantity, load_part, load_quantities, quantities
from sim.power.estimate import Interval, Values, interval

_NONE = {
    "value": 0.0,
    "low": 0.0,
    "high": 0.0,
    "unit": "W",
    "label": "V",
    "source": "nothing besides",
}


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
    part = load_part(entry["part"])
    found: dict[str, Quantity] = (
        part.coefficients
        | load_quantities("model", "model")
        | load_quantities("model", "published")
    )
    found |= quantities({"base": entry.get("base", _NONE)}, entry["name"])
    if (external := entry.get("external")) is not None:
        found["external_bit"] = load_quantities("memories", "memories")[external["memory"]]
    area = Area(
        **{name: entry.get(name, 0) for name in ("luts", "flip_flops", "ram_blocks", "uram", "dsp")}
    )

    def watts(values: Values) -> float:
        toggles = values["rate"] * (
            area.luts * (values["lut_toggle"] + values["net_toggle"])
            + area.flip_flops * (values["ff_toggle"] + values["net_toggle"])
        )
        cycle = (
            toggles
            + area.flip_flops * values["ff_clock"] * entry.get("clocks", True)
            + values["ram_duty"]
            * (area.ram_blocks * values["ram_access"] + area.uram * values["uram_access"])
            + values["dsp_duty"] * area.dsp * values["dsp_op"]
        )
        power = values["base"] + 1e-12 * cycle * values["scale"] * entry["clock_hz"]
        if external is not None:
            power += 1e-12 * 8 * external["bytes_per_second"] * values["external_bit"]
        return entry.get("devices", 1) * (power + values["static"] * entry["static"])

    return Prediction(
        name=entry["name"],
        held_out=entry["held_out"],
        kind=entry["kind"],
        what=entry["what"],
        watts=interval(watts, found),
        published=entry["published"],
        source=entry["source"],
    )
