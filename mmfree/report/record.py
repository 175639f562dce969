"""The record that a demo leaves in its folder: what was checked, and the figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmfree.chip.design import Design
from mmfree.errors import InputError
from mmfree.files.atomic import read_json

RUN_NAME, REPORT_NAME, PAGE_NAME = "demo.json", "report.html", "page.html"
"""What a demo leaves: its record, the report, and the chip in a page."""

_NUMBERS = ("lanes", "cycles_per_token", "lane_utilization", "multipliers", "simulated_hz")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(_NUMBERS, (int, float)),
    "checks": list,
    "answers": list,
    "tokens": int,
    "sha256": str,
    "design": dict,
    "profile": dict,
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that was checked.

    ``due``: how many things had to be right, known beforehand; ``right``: how many were.
    ``detail``: the figures, in words.
    """

    name: str
    due: int
    right: int
    detail: str

    @property
    def passed(self) -> bool:
        """Whether all of them were right, at least one."""
        return self.right == self.due > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"passed": self.passed}


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
    if "checks" in needed:
        values["checks"] = [_read_check(check, path) for check in values["checks"]]
        if not values["checks"]:
            raise InputError(f"{path}: not the record of a demo: nothing was checked; run it again")
    return values


def design_of_demo(folder: Path) -> Design | None:
    """The design that a demo in ``folder`` checked; None if there was no demo.

    Raises
    ------
    InputError
        If its record is damaged.
    """
    path = folder / RUN_NAME
    if not path.is_file():
        return None
    return Design.from_dict(read_record(path, ["design"])["design"], str(path))


def _read_check(values: object, path: Path) -> Check:
    """A check of a record, whose verdict follows from its numbers."""
    if isinstance(values, dict):
        own = {name: value for name, value in values.items() if name != "passed"}
        kinds = {name: type(value) for name, value in own.items()}
        if kinds == {"name": str, "due": int, "right": int, "detail": str}:
            check = Check(**own)
            if check.passed is values.get("passed"):
                return check
    raise InputError(f"{path}: not the record of a demo: checks are malformed; run it again")
