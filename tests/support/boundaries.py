"""Boundaries: guards of the product that compare with a limit, and rows that try both its sides.

A guard is an ``if`` that raises and whose condition orders two values, itself or in a function that
it asks. Each of its comparisons needs a row for each ``<``, ``<=``, ``>`` or ``>=`` in it
(``low <= value <= high``: two rows).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmfree.errors import InputError

ROOT = Path(__file__).parents[2]
PACKAGES = ("mmfree", "hdl", "sim")
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """One side of a guard: the last value that passes, and the first one that does not.

    Parameters
    ----------
    file
        Source that holds the guard.
    compares
        The comparison as ``ast.unparse`` writes it.
    allowed, refused
        Run the product up to the guard and beyond, with the two values that touch the limit; both
        get an empty folder.
    says
        Regular expression that the refusal's one line matches; name the value in it.
    raises
        Class of the refusal.
    """

    file: str
    compares: str
    allowed: Callable[[Path], object]
    refused: Callable[[Path], object]
    says: str
    raises: type[Exception] = InputError


@dataclass(frozen=True, kw_only=True)
class Unreachable:
    """A comparison that no row can touch, and the reason; counts for all its sides."""

    file: str
    compares: str
    why: str


def comparisons_of(source: str) -> Counter[str]:
    """Comparison of a guard -> how many limits it has, over all guards that write it so.

    What a guard asks a function of its own file counts, too.
    """
    tree = ast.parse(source)
    answers = {
        node.name: [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    found: Counter[str] = Counter()
    asked: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and any(isinstance(child, ast.Raise) for child in node.body):
            found += _limits(node.test)
            asked |= {_called(part) for part in ast.walk(node.test) if isinstance(part, ast.Call)}
    for name in asked & answers.keys():
        for value in answers[name]:
            found += _limits(value)
    return found


def _called(call: ast.Call) -> str:
    """The function's own name."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)


def _limits(condition: ast.expr | None) -> Counter[str]:
    found: Counter[str] = Counter()
    for part in ast.walk(condition) if condition is not None else ():
        if isinstance(part, ast.Compare):
            limits = sum(isinstance(operator, _ORDER) for operator in part.ops)
            if limits:
                found[ast.unparse(part)] += limits
    return found


def all_comparisons() -> Counter[tuple[str, str]]:
    """(File, comparison) -> limits, over the product."""
    found: Counter[tuple[str, str]] = Counter()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for text, limits in comparisons_of(path.read_text(encoding="utf-8")).items():
                found[path.relative_to(ROOT).as_posix(), text] += limits
    return found


def both_ends(
    file: str,
    compares: str,
    run: Callable[[int], object],
    limits: tuple[int, int],
    says: str,
    raises: type[Exception] = InputError,
) -> list[Boundary]:
    """Rows for a range of integers: both ends pass, and what lies one beyond is refused.

    ``says`` is followed by ", got " and the value.
    """
    return [
        Boundary(
            file=file,
            compares=compares,
            allowed=lambda _, value=end: run(value),
            refused=lambda _, value=beyond: run(value),
            says=rf"{says}.*, got {beyond}$",
            raises=raises,
        )
        for end, beyond in ((limits[0], limits[0] - 1), (limits[1], limits[1] + 1))
    ]
