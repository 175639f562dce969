"""Technology files: what the cells and memories of a part take, each number with its source.

Each has an interval (of about 90 %) and a label: V read in the primary source, S quoted by another
source, D derived from such, K recalled.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mmfree.errors import InputError, not_one_of

TECHNOLOGY = Path(__file__).parent / "technology"
FAMILY_FILES = ("ice40", "ecp5", "artix7", "ultrascale_plus")
FAMILY_NAMES = ("ice40", "ecp5", "xc7", "xcup")
"""Of ``hdl.toolchain.families.FAMILIES``, which Amaranth must be loaded for."""

LABELS = "VSDK"
REQUIRED = (
    "pll",
    "lut_toggle",
    "net_toggle",
    "ff_clock",
    "ff_toggle",
    "lutram_cycle",
    "ram_access",
    "dsp_op",
    "dsp_8_bits",
    "scale",
)
"""Coefficients that every family has."""

CELLS = ("luts", "flip_flops", "ram_blocks", "dsp")
"""Kinds of cells that a part's capacity counts."""

KINDS_OF_CELLS = dict(zip(CELLS, ("LUTs", "flip-flops", "block RAMs", "DSP blocks"), strict=True))
"""What people call them."""

_OPTIONAL = ("clock_net", "uram_access")
"""Coefficients that are 0 where a family has none; ``clock_net`` is the clock's own, per cycle."""

_UNITS = {"pll": "W", "dsp_8_bits": "1", "scale": "1"}
"""Units of the coefficients that are not energies in pJ."""


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
        if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            raise InputError("value, low and high must be numbers")
        if not all(isinstance(text, str) for text in (self.unit, self.label, self.source)):
            raise InputError("unit, label and source must be strings")
        if not 0 <= self.low <= self.value <= self.high:
            raise InputError(
                f"must be 0 <= low <= value <= high, got {self.low}, {self.value}, {self.high}"
            )
        if self.label not in LABELS or len(self.label) != 1:
            raise not_one_of("label", self.label, LABELS)
        if not self.source:
            raise InputError("source must say where the number comes from")


ZERO = Quantity(0, 0, 0, "pJ", "V", "the part has none")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an FPGA family.

    ``family``: of hdl/toolchain/families.py. ``capacity``: kind of cell -> how many it has.
    ``coefficients``: those of its family, and its own ``static``.
    """

    name: str
    device: str
    technology: str
    family: str
    capacity: dict[str, int]
    coefficients: dict[str, Quantity]


def known_parts() -> dict[str, Part]:
    """The parts that are known, by name."""
    parts: dict[str, Part] = {}
    for file in FAMILY_FILES:
        parts |= load_parts(TECHNOLOGY / f"{file}.toml")
    return parts


def part_names() -> list[str]:
    """Names of the parts that are known."""
    return list(known_parts())


def load_part(name: str, technology: Path | None = None) -> Part:
    """A part by name, out of the given technology file or out of those here.

    Raises
    ------
    InputError
        If there is no such part, or its file is invalid.
    """
    parts = known_parts() if technology is None else load_parts(technology)
    if name not in parts:
        raise not_one_of("--part" if technology is None else f"{technology}: part", name, parts)
    return parts[name]


def load_parts(path: Path) -> dict[str, Part]:
    """The parts of a technology file.

    Raises
    ------
    InputError
        If a coefficient is missing, negative, or without label or source; the message names it.
    """
    table = _read(path)
    common = quantities(table.get("coefficients"), f"{path}: coefficients")
    for name in REQUIRED:
        if name not in common:
            raise InputError(f"{path}: coefficients.{name} is missing")
    for name, quantity in common.items():
        if name not in (*REQUIRED, *_OPTIONAL):
            raise InputError(
                f"{path}: coefficients.{name} is unknown; known:"
                f" {', '.join((*REQUIRED, *_OPTIONAL))}"
            )
        if quantity.unit != (unit := _UNITS.get(name, "pJ")):
            raise InputError(
                f"{path}: coefficients.{name}: unit must be {unit}, got {quantity.unit}"
            )
    if table.get("family") not in FAMILY_NAMES:
        raise not_one_of(f"{path}: family", table.get("family"), FAMILY_NAMES)
    if not isinstance(table.get("name"), str):
        raise InputError(f"{path}: name is missing")
    if not (isinstance(table.get("parts"), dict) and table["parts"]):
        raise InputError(f"{path}: parts is missing")
    return {
        name: _part(name, part, table, common, f"{path}: parts.{name}")
        for name, part in table["parts"].items()
    }


def _part(
    name: str, entry: Any, table: dict[str, Any], common: dict[str, Quantity], where: str
) -> Part:
    """A part of a technology file, checked."""
    if not isinstance(entry, dict):
        raise InputError(f"{where} must be a table")
    for field in ("static", "capacity", "device"):
        if field not in entry:
            raise InputError(f"{where}.{field} is missing")
    capacity = entry["capacity"]
    for cell in CELLS:
        if (
            not isinstance(capacity, dict)
            or type(capacity.get(cell)) is not int
            or capacity[cell] < 0
        ):
            raise InputError(f"{where}.capacity: {cell} must be a number of cells")
    if not isinstance(entry["device"], str):
        raise InputError(f"{where}.device must be a string")
    own = quantities({"static": entry["static"]}, where)
    if own["static"].unit != "W":
        raise InputError(f"{where}.static: unit must be W, got {own['static'].unit}")
    return Part(
        name=name,
        device=entry["device"],
        technology=table["name"],
        family=table["family"],
        capacity=dict(capacity),
        coefficients=dict.fromkeys(_OPTIONAL, ZERO) | common | own,
    )


def load_quantities(file: str, section: str) -> dict[str, Quantity]:
    """A section of quantities of a file here."""
    path = TECHNOLOGY / f"{file}.toml"
    return quantities(_read(path)[section], f"{path}: {section}")


def quantities(table: Any, where: str) -> dict[str, Quantity]:
    """Quantities by name; InputError names the first that is invalid."""
    if not isinstance(table, dict):
        raise InputError(f"{where} is missing")
    found, names = {}, {item.name for item in fields(Quantity)}
    for name, entry in table.items():
        if not isinstance(entry, dict) or set(entry) != names:
            raise InputError(f"{where}.{name} must have {', '.join(sorted(names))}")
        try:
            found[name] = Quantity(**entry)
        except ValueError as error:
            raise InputError(f"{where}.{name}: {error}") from None
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or nested too deeply
        raise InputError(f"{path}: {error}") from None
