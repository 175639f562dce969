"""What an option's word may be: each refuses, before anything is read, what no verb could take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any


def whole_number(word: str) -> int:
    """An integer; in place of ``int``, which says only that its own word is invalid."""
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {word!r}") from None


def number(word: str) -> float:
    """A finite number; in place of ``float``, which takes nan and inf."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, got {word!r}")
    return value


def path(word: str) -> Path:
    """A path; an empty word is none: it comes of a variable of the shell that is not set."""
    if not word:
        raise argparse.ArgumentTypeError("must be a path, got ''")
    return Path(word)


def whole(low: int, high: int | None = None, shown: str = "") -> Callable[[str], int]:
    """A type of integers from ``low`` to ``high``, both included; ``shown``: how high is written.

    None: as high as you like.
    """

    def convert(word: str) -> int:
        value = whole_number(word)
        if value < low or (high is not None and value > high):
            limits = f"be at least {low}" if high is None else f"lie in {low}..{shown or high}"
            raise argparse.ArgumentTypeError(f"must {limits}, got {value}")
        return value

    return convert


def above_zero(unit: str = "") -> Callable[[str], float]:
    """A type of numbers above 0; ``unit`` follows what was got in the message."""

    def convert(word: str) -> float:
        value = number(word)
        if value <= 0:
            got = f"{value:g} {unit}".rstrip()
            raise argparse.ArgumentTypeError(f"must be above 0, got {got}")
        return value

    return convert


CONVERTERS: dict[Any, Callable[[str], Any]] = {int: whole_number, float: number, Path: path}
"""What stands in for a type that an option gives by its class."""
