"""The record that a demo leaves in its folder: what was checked, and the figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmfree.errors import InputError
from mmfree.files.atomic import read_json

RUN_NAME = "demo.json"

_NUMBERS = ("lanes", "cycles_per_token", "lane_utilization", "multipliers", "simulated_hz")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(_NUMBERS, (int, float)),
    "checks": list,
    "answers": list,
    "tokens": int,
    "design": dict,
    "profile": dict,
}


def read_record(path: Path, needed: Iterable[str] = tuple(_FIELDS)) -> dict[str, Any]:
    """A demo's record, of which the fields ``needed`` are checked.

    Raises
    ------
    InputError
        If the file is not JSON, or a field is missing or of another type; the message names it.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: not the record of a demo: expected an object; run it again")
    for name in needed:
        if not isinstance(values.get(name), _FIELDS[name]):
            raise InputError(
                f"{path}: not the record of a demo: {name} is missing or malformed; run it again"
            )
    for check in values["checks"] if "checks" in needed else ():
        if not isinstance(check, dict) or {"name", "passed", "detail"} - set(check):
            raise InputError(
                f"{path}: not the record of a demo: checks are malformed; run it again"
            )
    return values
