"""Every limit in the product: the last value that it allows, and the first that it refuses."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from pathlib import Path

import pytest

import tests.boundaries
from tests.support.boundaries import Boundary, Unreachable, all_comparisons, comparisons_of

MODULES = [
    importlib.import_module(f"tests.boundaries.{module.name}")
    for module in pkgutil.iter_modules(tests.boundaries.__path__)
]
ROWS: list[Boundary] = [row for module in MODULES for row in module.ROWS]
UNREACHABLE: list[Unreachable] = [
    row for module in MODULES for row in getattr(module, "UNREACHABLE", ())
]


def _name(row: Boundary) -> str:
    return f"{row.file}: {row.compares}: {row.says}"


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_the_last_value_passes_and_the_next_is_refused(row: Boundary, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    row.allowed(inside)
    with pytest.raises(row.raises, match=row.says) as refusal:
        row.refused(outside)
    assert "\n" not in str(refusal.value)


def test_every_guard_has_a_row_for_each_of_its_limits() -> None:
    wanted = all_comparisons()
    rows = Counter((row.file, row.compares) for row in ROWS)
    excused = {(row.file, row.compares) for row in UNREACHABLE}
    missing = {
        key: f"{rows[key]} of {limits}"
        for key, limits in wanted.items()
        if rows[key] < limits and key not in excused
    }
    assert not missing, "\n".join(f"{file}: {text}: {n}" for (file, text), n in missing.items())
    assert rows.keys() | excused <= wanted.keys(), "rows of guards that are gone"
    assert not rows.keys() & excused


def test_few_guards_are_excused() -> None:
    assert all(row.why for row in UNREACHABLE)
    assert len(UNREACHABLE) <= len(ROWS) // 10


def test_comparisons_of_guards_are_found() -> None:
    source = """
def check(a, b):
    if not 1 <= a <= 9 or b == 3:
        raise ValueError
    elif b > 2 and a in (1, 2):
        raise ValueError
    if a < 5:
        return b
    if a == 5 or not fits(a):
        raise ValueError

def fits(a):
    return a < 8 and a != 3

def unused(a):
    return a < 7
"""
    assert comparisons_of(source) == {"1 <= a <= 9": 2, "b > 2": 1, "a < 8": 1}
