"""Applies one-line mistakes to copies of the project; a test must fail under each.

    python -m tools.mutants [--only TEXT] [--jobs N]
    python -m tools.mutants --draw 40 [--seed S] [--only mmfree/text] [--whole] [--list]

The first runs those of tests/mutants.toml, names the test, or the proof, that catches each, and the
files that have too few; exit code 0 only if every mutant was caught and no file lacks any. The
second draws mistakes at random and names the survivors: some mean the same as the original, so its
exit code says nothing about them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tqdm import tqdm

from tools.mutants.drawn import draw
from tools.mutants.listed import Mutant, lacking, load_mutants
from tools.mutants.processes import Processes
from tools.mutants.running import caught_by


def main() -> int:
    """Run every mutant; a line for each."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="mutants whose path or text holds this; of --draw, those whose path does",
    )
    parser.add_argument(
        "--jobs", type=_count, default=os.cpu_count() or 1, metavar="N", help="how many at a time"
    )
    parser.add_argument("--draw", type=_count, metavar="N", help="draw N at random instead")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of --draw (0)")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="of --draw: all quick tests, where those of the room pass",
    )
    parser.add_argument("--list", action="store_true", help="show the mutants, run nothing")
    options = parser.parse_args()
    if options.draw is None and (options.whole or options.seed is not None):
        parser.error("--seed and --whole: only with --draw")
    if options.draw is not None:
        mutants = draw(options.draw, options.seed or 0, options.only)
    else:
        mutants = [
            m for m in load_mutants() if options.only in m["file"] + m["before"] + m["after"]
        ]
    if not mutants:
        parser.error(f"--only: no mutant holds {options.only!r}")
    if options.list:
        for mutant in mutants:
            print(_difference(mutant))
        return 0
    try:
        survivors = _run(mutants, options.jobs, whole=options.whole)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants caught")
    if options.draw is not None:
        return 0
    lacks = {file: n for file, n in lacking(load_mutants()).items() if options.only in file}
    for file, missing in lacks.items():
        print(f"{file}: {missing} more needed, one for every 100 lines")
    return int(survivors > 0 or bool(lacks))


def _count(text: str) -> int:
    """A number of something, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _run(mutants: list[Mutant], jobs: int, *, whole: bool) -> int:
    """Print what catches each; the number of survivors."""
    processes = Processes()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            results = pool.map(partial(caught_by, whole=whole, processes=processes), mutants)
            return _print(mutants, results)
        except BaseException:
            # The pool waits for its threads, they for their processes; each removes its copy.
            pool.shutdown(wait=False, cancel_futures=True)
            processes.end()
            raise


def _print(mutants: list[Mutant], results: Iterator[str | None]) -> int:
    """A line for each as soon as it is there; the number of survivors."""
    survivors = 0
    for mutant, test in tqdm(
        zip(mutants, results, strict=True), total=len(mutants), unit="mutant", disable=None
    ):
        survivors += test is None
        named = "tests" in mutant or "proofs" in mutant
        print(
            f"{'survives' if test is None else 'caught':<10}"
            f"{mutant['file']:<34}{mutant['after'][:60] if named else ''}"
        )
        if not named and test is None:
            print(_difference(mutant))
        print(f"{'':<10}{test or 'by no test'}", flush=True)
    return survivors


def _difference(mutant: Mutant) -> str:
    """The lines that change, old and new."""
    before, after = mutant["before"].splitlines(), mutant["after"].splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    lines = [f"- {line}" for line in before] + [f"+ {line}" for line in after]
    return "\n".join([mutant["file"], *lines])


if __name__ == "__main__":
    sys.exit(main())
