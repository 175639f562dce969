"""Dataclasses from JSON objects: exactly their fields, or one clear error."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from mmfree.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def checked_fields(data: object, kind: type[DataclassInstance], source: str) -> dict[str, Any]:
    """``data``, if it is a JSON object with the fields of the dataclass ``kind``.

    Fields with a default may be missing.

    Raises
    ------
    InputError
        If it is no object, or a field is unknown or missing; the message names ``source``.
    """
    if not isinstance(data, dict):
        raise InputError(f"{source}: expected a JSON object, got {type(data).__name__}")
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(data) - known):
        near = did_you_mean(unknown[0], known)
        message = f"{source}: unknown field {unknown[0]!r}; known: {sorted(known)}{near}"
        raise InputError(message)
    needed = {
        item.name
        for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING
    }
    if missing := sorted(needed - set(data)):
        raise InputError(f"{source}: missing field {missing[0]!r}")
    return dict(data)
