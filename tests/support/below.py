"""Functions below another one, replaced: what each was asked for, by its own parameters' names."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from importlib import import_module
from typing import Any

import pytest

REAL = object()
"""In place of a result: the function itself is called."""


class Each(list[Any]):
    """In place of a result: one for each call, in turn, of which each may be ``REAL``."""


class Below:
    """Replaces functions, and keeps what they are asked for.

    ``asked``: "function(parameter)" -> value, defaults included; of a second call
    "function 2(parameter)". A call that does not fit the signature is a TypeError.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._calls: Counter[str] = Counter()
        self.asked: dict[str, Any] = {}

    def replace(self, places: dict[str, Any]) -> None:
        """Of each "module:function" what it gives; an exception is raised."""
        for place, result in places.items():
            self._replace(place, result)

    def _replace(self, place: str, result: Any) -> None:
        module, _, name = place.partition(":")
        *within, last = name.split(".")
        owner: Any = import_module(module)
        for part in within:
            owner = getattr(owner, part)
        original = getattr(owner, last)
        signature = inspect.signature(original)
        results = Each(result) if isinstance(result, Each) else None

        # So that whatever is replaced again keeps its signature.
        @functools.wraps(original)
        def ask(*arguments: Any, **options: Any) -> Any:
            bound = signature.bind(*arguments, **options)
            bound.apply_defaults()
            self._calls[name] += 1
            call = name if self._calls[name] == 1 else f"{name} {self._calls[name]}"
            for parameter, value in bound.arguments.items():
                self.asked[f"{call}({parameter})"] = value
            given = result if results is None else results.pop(0)
            if given is REAL:
                return original(*arguments, **options)
            if isinstance(given, BaseException):
                raise given
            return given

        self._monkeypatch.setattr(owner, last, ask)
