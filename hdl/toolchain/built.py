"""What a finished build says of itself: build.json, checked when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdl.toolchain.counts import SYNTHESIZED, Count, routed_count
from mmfree.chip.design import Design
from mmfree.errors import InputError
from mmfree.files.atomic import read_json

DESCRIPTION = "build.json"
"""In the folder of a build that has succeeded."""

_LARGEST_COUNT, _FASTEST_HZ = 1 << 40, 1e10


@dataclass(frozen=True, kw_only=True)
class Built:
    """A tape on a design on a device, placed and routed.

    ``pll_hz``: at which the chip runs. ``routed_hz``: the most that the routed design allows.
    ``counts``: of its cells, the routed ones last.
    """

    device: str
    tape_sha256: str
    design: Design
    pll_hz: float
    routed_hz: float
    counts: tuple[Count, ...]

    @property
    def routed(self) -> Count:
        """Cells as placed and routed."""
        return self.counts[-1]


def read_built(folder: Path) -> Built:
    """The description in the folder of a build.

    Raises
    ------
    InputError
        If there is none, or a value that is used is missing or impossible; the message names it.
    """
    if not folder.is_dir():
        what = "a file, not the folder" if folder.exists() else "no such folder; give that"
        raise InputError(f"{folder}: {what} of a build, which has a {DESCRIPTION}")
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{path}: no such file; `mmfree build` writes it when it has succeeded")
    values = read_json(path)
    if not isinstance(values, dict):
        raise _unusable(path, "must be an object")
    device = values.get("device")
    name = device.get("device") if isinstance(device, dict) else None
    for key, value in (("device.device", name), ("tape_sha256", values.get("tape_sha256"))):
        if not isinstance(value, str):
            raise _unusable(path, f"{key} must be a string, got {value!r:.40}")
    return Built(
        device=str(name),
        tape_sha256=values["tape_sha256"],
        design=Design.from_dict(values.get("design"), f"{path}: design"),
        pll_hz=_hertz(path, values, "pll_hz"),
        routed_hz=_hertz(path, values, "clock_hz"),
        counts=(*_synthesized(path, values), _routed(path, values)),
    )


def _unusable(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: not the description of a build: {what}; damaged, or of another version: build"
        " the tape again"
    )


def _hertz(path: Path, values: dict[str, Any], key: str) -> float:
    hertz = values.get(key)
    if type(hertz) is bool or not (isinstance(hertz, int | float) and 1 <= hertz <= _FASTEST_HZ):
        raise _unusable(path, f"{key} must be a frequency in Hz, got {hertz!r:.40}")
    return float(hertz)


def _synthesized(path: Path, values: dict[str, Any]) -> list[Count]:
    """As Yosys counted; nothing of a build of an older version, which did not write it."""
    if "counts" not in values:
        return []
    counts = values["counts"]
    entry = counts.get(SYNTHESIZED) if isinstance(counts, dict) else None
    if not isinstance(entry, dict):
        raise _unusable(path, f"counts.{SYNTHESIZED} must be an object, got {entry!r:.40}")
    found = {
        name: _cells(path, f"counts.{SYNTHESIZED}.{name}", entry.get(name))
        for name in ("luts", "flip_flops", "ram_blocks")
    }
    return [Count(way=SYNTHESIZED, **found)]


def _routed(path: Path, values: dict[str, Any]) -> Count:
    utilisation = values.get("utilisation")
    if not isinstance(utilisation, dict):
        raise _unusable(path, f"utilisation must be an object, got {utilisation!r:.40}")
    used: dict[str, tuple[int, int]] = {}
    for kind in ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD"):
        pair = utilisation.get(kind)
        if not (isinstance(pair, list) and len(pair) == 2):
            raise _unusable(path, f"utilisation.{kind} must be [used, available], got {pair!r:.40}")
        count, available = (_cells(path, f"utilisation.{kind}", entry) for entry in pair)
        if count > available:
            raise _unusable(path, f"utilisation.{kind} uses {count} of {available}")
        used[kind] = count, available
    return routed_count(used)


def _cells(path: Path, where: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST_COUNT:
        raise _unusable(path, f"{where} must be a number of cells, got {value!r:.40}")
    return value
