"""Technology files: what a part's cells and memories take, each number with its source, its label and its uncertainty.

Labels: V read in the primary source, S quoted by another source, D derived from such, K recalled.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

TECHNOLOGY = Path(__file__).parent / "technology"
FAMILY_FILES = ("ice40", "ecp5", "artix7", "ultrascale_plus")
LABELS = "VSDK"
REQUIRED = ("pll", "lut_toggle", "net_toggle", "ff_clock", "ff_toggle", "lutram_cycle", "ram_access", "dsp_op", "dsp_8_bits", "scale")
"""Coefficients that every family has; ``clock_net`` (of the clock's own net, per cycle) and ``uram_access`` are 0 without."""


@dataclass(frozen=True)
class Quantity:
    """A number with its interval (of about 90 %), unit, label and source."""

    value: float
    low: float
    high: float
    unit: str
    label: str
    source: str

    def __post_init__(self) -> None:
        numbers = (self.low, self.value, self.high)
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError("value, low and high must be numbers")
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError(f"must be 0 <= low <= value <= high, got {self.low}, {self.value}, {self.high}")
        if self.label not in LABELS or len(self.label) != 1:
            raise ValueError(f"label must be one of {', '.join(LABELS)}, got {self.label!r}")
        if not self.source:
            raise ValueError("source must say where the number comes from")


ZERO = Quantity(0, 0, 0, "pJ", "V", "the part has none")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part: ``family`` (of hdl/families.py), what it holds (``capacity``), and its coefficients, ``static`` included."""

    name: str
    device: str
    technology: str
    family: str
    capacity: dict[str, int]
    coefficients: dict[str, Quantity]


def part_names() -> list[str]:
    """Parts that are known."""
    return [name for file in FAMILY_FILES for name in load_parts(TECHNOLOGY / f"{file}.toml")]


def load_part(name: str, technology: Path | None = None) -> Part:
    """A part by name, out of a technology file of one's own or out of those here.

    Raises
    ------
    ValueError
        If there is no such part, or its file is not sound.
    """
    paths = [technology] if technology is not None else [TECHNOLOGY / f"{file}.toml" for file in FAMILY_FILES]
    parts: dict[str, Part] = {}
    for path in paths:
        parts |= load_parts(path)
    if name not in parts:
        raise ValueError(f"there is no part {name!r}: {', '.join(parts)}")
    return parts[name]


def load_parts(path: Path) -> dict[str, Part]:
    """The parts of a technology file.

    Raises
    ------
    ValueError
        If a coefficient is missing, negative, or without label or source; the message names it.
    """
    table = _read(path)
    common = quantities(table.get("coefficients"), f"{path}: coefficients")
    if missing := [name for name in REQUIRED if name not in common]:
        raise ValueError(f"{path}: coefficients.{missing[0]} is missing")
    parts = {}
    for name, part in table.get("parts", {}).items():
        where = f"{path}: parts.{name}"
        if "static" not in part:
            raise ValueError(f"{where}.static is missing")
        own = quantities({"static": part["static"]}, where)
        try:
            parts[name] = Part(
                name=name,
                device=part["device"],
                technology=table["name"],
                family=table["family"],
                capacity=dict(part["capacity"]),
                coefficients={"clock_net": ZERO, "uram_access": ZERO} | common | own,
            )
        except KeyError as error:
            raise ValueError(f"{where}: {error.args[0]} is missing") from None
    if not parts:
        raise ValueError(f"{path}: parts is missing")
    return parts


def load_quantities(file: str, section: str) -> dict[str, Quantity]:
    """A section of quantities of a file here."""
    path = TECHNOLOGY / f"{file}.toml"
    return quantities(_read(path)[section], f"{path}: {section}")


def quantities(table: Any, where: str) -> dict[str, Quantity]:
    """Quantities by name; ValueError names the first that is not sound."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} is missing")
    found, names = {}, {item.name for item in fields(Quantity)}
    for name, entry in table.items():
        if not isinstance(entry, dict) or set(entry) != names:
            raise ValueError(f"{where}.{name} must have {', '.join(sorted(names))}")
        try:
            found[name] = Quantity(**entry)
        except ValueError as error:
            raise ValueError(f"{where}.{name}: {error}") from None
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
