"""Dataclasses from JSON objects."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from mmfree.errors import InputError
from mmfree.files.objects import checked_fields


@dataclass(frozen=True)
class Thing:
    size: int
    name: str = "thing"
    parts: tuple[int, ...] = field(default_factory=tuple)


def test_fields_with_a_default_may_be_missing() -> None:
    assert checked_fields({"size": 3}, Thing, "a.json") == {"size": 3}
    assert checked_fields({"size": 3, "parts": []}, Thing, "a.json") == {"size": 3, "parts": []}


def test_fields_are_a_copy() -> None:
    """Who goes on working on them does not change what was read."""
    data = {"size": 3}
    checked_fields(data, Thing, "a.json")["parts"] = (1,)
    assert data == {"size": 3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "a.json: expected a JSON object, got list"),
        (None, "a.json: expected a JSON object, got NoneType"),
        ({"size": 3, "z": 1}, "a.json: unknown field 'z'; known: ['name', 'parts', 'size']"),
        ({"name": "x"}, "a.json: missing field 'size'"),
    ],
)
def test_anything_else_is_one_error(data: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        checked_fields(data, Thing, "a.json")
