"""Mutants that somebody wrote down: tests/mutants.toml, and which files have too few of them."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from pathlib import Path
from typing import NotRequired, TypedDict

ROOT = Path(__file__).parents[2]
PACKAGES = ("mmfree", "hdl", "sim")
LINES_PER_MUTANT = 100


class Mutant(TypedDict):
    """``before`` becomes ``after`` in a ``file``; a test, or else each of ``proofs``, must fail.

    ``tests``: arguments of pytest; ``proofs``: names of proofs (tests/prove.py). Without either:
    the tests of the file and of its room.
    """

    file: str
    before: str
    after: str
    tests: NotRequired[list[str]]
    proofs: NotRequired[list[str]]


def load_mutants() -> list[Mutant]:
    """The entries of tests/mutants.toml."""
    text = (ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8")
    entries: list[Mutant] = tomllib.loads(text)["mutant"]
    return entries


def apply(mutant: Mutant, root: Path) -> None:
    """Exchange the text in ``root``; ValueError if it does not occur exactly once."""
    path = root / mutant["file"]
    text = path.read_text(encoding="utf-8")
    if text.count(mutant["before"]) != 1:
        raise ValueError(
            f"{mutant['file']}: {mutant['before']!r} occurs {text.count(mutant['before'])} times"
        )
    path.write_text(text.replace(mutant["before"], mutant["after"]), encoding="utf-8")


def product_files() -> list[Path]:
    """The product's sources that do something: those that define a function."""
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]


def lacking(mutants: list[Mutant]) -> dict[str, int]:
    """File -> mutants that it lacks: each needs one for every 100 lines that it begins."""
    listed = Counter(mutant["file"] for mutant in mutants)
    lacks = {}
    for path in product_files():
        file = path.relative_to(ROOT).as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if (missing := -(-lines // LINES_PER_MUTANT) - listed[file]) > 0:
            lacks[file] = missing
    return lacks
