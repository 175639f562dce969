"""Runs tests, or proofs, against a mutant in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.mutants.listed import ROOT, Mutant, apply
from tools.mutants.processes import Processes

FOLDERS = ("mmfree", "hdl", "sim", "tests", "docs", "tools")
FILES = ("setup.py", "pyproject.toml", "README.md", "CONTRIBUTING.md", "Makefile")
SECONDS = 600
"""Limit for a mutant that makes a program run for ever; the tests' own limits are lower."""

OF_THE_TEXT = (
    "--ignore=tests/tools/mutants",
    "--deselect=tests/test_boundaries.py::test_every_guard_has_a_row_for_each_of_its_limits",
    "--deselect=tests/test_structure.py::test_no_line_is_longer_than_100_columns",
)
"""Leaves out the tests of the sources' text.

They fail wherever a listed mutant no longer applies, a guard is written in another way or a line
grows: under changes that mean the same, too. Only a mutant that names one is caught by it.
"""


def tests_of(file: str) -> tuple[str | None, str | None]:
    """The file of tests that mirrors a source, and its room's folder of tests; None: not there."""
    path = Path(file)
    parts = path.parts[1:] if path.parts[0] == "mmfree" else path.parts
    own = Path("tests", *parts[:-1], f"test_{path.name}")
    room = own.parent if len(parts) > 1 else None
    return (
        own.as_posix() if (ROOT / own).is_file() else None,
        room.as_posix() if room is not None and (ROOT / room).is_dir() else None,
    )


def caught_by(
    mutant: Mutant, *, whole: bool = False, processes: Processes | None = None
) -> str | None:
    """Name of the first test that fails under the mutant, or of its proofs; None: it survives.

    The tests that the mutant names, or those of its file; without a name also those of its room,
    and with ``whole`` all that are quick. ``processes``: what they run in, for whoever ends them.
    """
    processes = processes or Processes()
    with tempfile.TemporaryDirectory(prefix="mmfree-mutant-") as name:
        root = Path(name)
        for folder in FOLDERS:
            shutil.copytree(
                ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
        for file in FILES:
            shutil.copy(ROOT / file, root / file)
        apply(mutant, root)
        for checks in _stages(mutant, whole=whole):
            if (found := _refused(mutant, root, checks, processes)) is not None:
                return found
    return None


def _stages(mutant: Mutant, *, whole: bool) -> Iterator[list[str]]:
    """What to run, one after the other: a module and its arguments each."""
    if "proofs" in mutant:
        yield ["tests.prove", "--jobs", "1", *mutant["proofs"]]
        return
    quick = ["pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not long"]
    if "tests" in mutant:
        yield [*quick, *mutant["tests"]]
    else:
        own, room = tests_of(mutant["file"])
        if own is not None:
            yield [*quick, own]
        if room is not None:
            others = [*quick, room, *OF_THE_TEXT]
            yield [*others, f"--ignore={own}"] if own is not None else others
    if whole:
        yield [*quick, "tests", *OF_THE_TEXT]


def _refused(mutant: Mutant, root: Path, checks: list[str], processes: Processes) -> str | None:
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with processes.start([sys.executable, "-m", *checks], root, environment) as process:
        try:
            printed, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return None if "proofs" in mutant else f"(no end within {SECONDS} s)"
    if process.returncode == 0:
        return None
    # A proof refuses a mutant with a counterexample: an induction that fails shows nothing.
    # Logs that pytest shows may begin with ERROR, too.
    failed = r"^FAILED +(\S+)" if "proofs" in mutant else r"^(?:FAILED|ERROR) +(tests/\S+)"
    found = re.findall(failed, printed, re.MULTILINE)
    if "proofs" in mutant:
        return ", ".join(found) if set(mutant["proofs"]) <= set(found) else None
    if not found and process.returncode != _NO_TESTS:
        raise RuntimeError(f"{mutant['file']}: failed without naming a test:\n{printed[-2000:]}")
    return str(found[0]) if found else None


_NO_TESTS = 5
"""pytest's exit code where no test was chosen."""
