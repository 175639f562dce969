"""Applies each one-line mistake of tests/mutants.toml to a copy of the project; a test must fail.

    python -m tools.mutants [--only TEXT] [--jobs N]

Names the test, or the proof, that catches each. Exit code 0 only if every mutant was caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NotRequired, TypedDict

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
FOLDERS = ("mmfree", "hdl", "sim", "tests", "docs", "tools")
FILES = ("pyproject.toml", "README.md", "CONTRIBUTING.md", "Makefile")
SECONDS = 600
"""Limit for a mutant that makes a simulation run for ever; the tests' own limits are lower."""


class Mutant(TypedDict):
    """``before`` becomes ``after`` in a ``file``; a test, or else each of ``proofs``, must fail.

    ``tests``: arguments of pytest; ``proofs``: names of proofs (tests/prove.py).
    """

    file: str
    before: str
    after: str
    tests: NotRequired[list[str]]
    proofs: NotRequired[list[str]]


def load_mutants() -> list[Mutant]:
    """The entries of tests/mutants.toml."""
    entries: list[Mutant] = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["mutant"]
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


def caught_by(mutant: Mutant) -> str | None:
    """Name of the first test that fails under the mutant, or of its proofs; None: it survives."""
    with tempfile.TemporaryDirectory(prefix="mmfree-mutant-") as name:
        root = Path(name)
        for folder in FOLDERS:
            shutil.copytree(
                ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
        for file in FILES:
            shutil.copy(ROOT / file, root / file)
        apply(mutant, root)
        environment = os.environ | {
            "PYTHONPATH": name,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        try:
            process = subprocess.run(
                [sys.executable, "-m", *_checks(mutant)],
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None if "proofs" in mutant else f"(no end within {SECONDS} s)"
    if process.returncode == 0:
        return None
    # A proof refuses a mutant with a counterexample: an induction that fails shows nothing.
    failures = "FAILED" if "proofs" in mutant else "(?:FAILED|ERROR)"
    found = re.findall(rf"^{failures} +(\S+)", process.stdout, re.MULTILINE)
    if not found and "proofs" not in mutant:
        raise RuntimeError(
            f"{mutant['file']}: failed without naming a test:\n{process.stdout[-2000:]}"
        )
    if "proofs" in mutant:
        return ", ".join(found) if set(mutant["proofs"]) <= set(found) else None
    first: str = found[0]
    return first


def _checks(mutant: Mutant) -> list[str]:
    """The module to run, and its arguments."""
    if "proofs" in mutant:
        return ["tests.prove", "--jobs", "1", *mutant["proofs"]]
    quick = ["-m", "not slow and not long"]
    return ["pytest", "-x", "-q", "-p", "no:cacheprovider", *quick, *mutant["tests"]]


def main() -> int:
    """Run every mutant; a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="mutants whose file or text holds this"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many at a time")
    options = parser.parse_args()
    mutants = [m for m in load_mutants() if options.only in m["file"] + m["before"] + m["after"]]
    if not mutants:
        parser.error(f"--only: no mutant holds {options.only!r}")
    survivors = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(caught_by, mutants)
        for mutant, test in tqdm(
            zip(mutants, results, strict=True), total=len(mutants), unit="mutant", disable=None
        ):
            survivors += test is None
            print(
                f"{'survives' if test is None else 'caught':<10}"
                f"{mutant['file']:<34}{mutant['after'][:60]}"
            )
            print(f"{'':<10}{test or 'by no test'}", flush=True)
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants caught")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
