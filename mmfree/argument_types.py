"""Types of what a function is given, checked by its annotations before it does anything."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from mmfree.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

Plain = Callable[[Any], Any]
"""Gives a value in plain types; TypeError if it is of another type."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, for which a value of a type that it does not take is an InputError.

    Its annotations are strings, each of ``_KINDS`` and perhaps ``| None``. Numbers reach it as
    Python's own, and paths as strings.
    """
    kinds: dict[str, str] = {
        name: parameter.annotation for name, parameter in signature(function).parameters.items()
    }
    assert {kind.removesuffix(" | None") for kind in kinds.values()} <= _KINDS.keys(), kinds

    def plain(name: str, value: Any) -> Any:
        # What has no parameter is left to Python's own message.
        if name not in kinds or (value is None and kinds[name].endswith(" | None")):
            return value
        wanted, check = _KINDS[kinds[name].removesuffix(" | None")]
        try:
            return check(value)
        except (TypeError, OverflowError):
            raise InputError(f"{name} must be {wanted}, got {value!r}") from None

    @wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> R:
        by_place: Any = map(plain, [*kinds, *[""] * len(given)], given)
        by_name: Any = {name: plain(name, value) for name, value in named.items()}
        return function(*by_place, **by_name)

    return call


def _instance_of(*types: type) -> Plain:
    def check(value: Any) -> Any:
        if not isinstance(value, types):
            raise TypeError
        return value

    return check


_text, _flag, _several = _instance_of(str), _instance_of(bool), _instance_of(Iterable)


def _whole(value: Any) -> int:
    """A bool is no number."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _number(value: Any) -> float:
    return _whole(value) if isinstance(value, Integral) else float(_instance_of(Real)(value))


def _path(value: Any) -> str:
    """Not of bytes."""
    path: str = _text(os.fspath(value))
    return path


def _paths(value: Any) -> str | list[str]:
    if isinstance(value, str | os.PathLike):
        return _path(value)
    return [_path(path) for path in _several(value)]


def _model(value: Any) -> Any:
    """A backend as it is: it has a tokenizer, as nothing else that may be given has."""
    return value if hasattr(value, "tokenizer") else _path(value)


def _function(value: Any) -> Any:
    if not callable(value):
        raise TypeError
    return value


_KINDS: dict[str, tuple[str, Plain]] = {
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "bool": ("True or False", _flag),
    "str": ("a text", _text),
    "AnyPath": ("a path (str or os.PathLike)", _path),
    "AnyPath | Iterable[AnyPath]": ("a path (str or os.PathLike) or several", _paths),
    "AnyPath | Backend": ("a path (str or os.PathLike) or what mmfree.load gives", _model),
    "Callable[[str], None]": ("a function of a line", _function),
}
"""Annotation, as it is written -> what messages call it, and what checks it."""
