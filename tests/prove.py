"""Proves what the blocks promise: `make prove`.

    python -m tests.prove [NAME ...] [--jobs N] [--seconds S] [--keep FOLDER]
    python -m tests.prove --page

A line for each proof: what came of it, how, how many properties, and its seconds. Exit code 0 only
if every one holds. ``--page`` writes the tables of docs/proofs.md instead.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from mmfree.errors import ToolMissing
from tests.support.proofs import page
from tests.support.proofs.bench import Proof
from tests.support.proofs.prover import BOUNDED, PROVEN, Verdict, run, tools_path

ROOT = Path(__file__).parents[1]


def proofs_by_file() -> dict[str, list[Proof]]:
    """The proofs of each tests/hdl/ROOM/prove_BLOCK.py, by that path."""
    proofs: dict[str, list[Proof]] = {}
    for path in sorted((ROOT / "tests" / "hdl").rglob("prove_*.py")):
        file = path.relative_to(ROOT)
        module = importlib.import_module(".".join(file.with_suffix("").parts))
        proofs[file.as_posix()] = module.PROOFS
    return proofs


def all_proofs() -> list[Proof]:
    """Every proof; each has a name of its own."""
    proofs = [proof for own in proofs_by_file().values() for proof in own]
    twice = [name for name, count in Counter(proof.name for proof in proofs).items() if count > 1]
    assert not twice, f"proofs of the same name: {twice}"
    return proofs


def main() -> int:
    """Run the proofs that were asked for; a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="proofs whose name begins so")
    parser.add_argument("--jobs", type=positive, default=2, metavar="N", help="how many at a time")
    parser.add_argument(
        "--seconds", type=positive, metavar="S", help="limit of each (default: ten minutes)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="a new folder for waveforms and logs"
    )
    parser.add_argument("--page", action="store_true", help="write the tables of docs/proofs.md")
    options = parser.parse_args()
    if options.page:
        page.write(ROOT / "docs" / "proofs.md", proofs_by_file())
        return 0
    try:
        tools_path()
    except ToolMissing as error:
        parser.error(str(error))
    proofs = all_proofs()
    for name in options.names:
        if not any(proof.name.startswith(name) for proof in proofs):
            parser.error(f"no proof has a name that begins with {name}")
    if options.names:
        proofs = [proof for proof in proofs if proof.name.startswith(tuple(options.names))]
    if options.keep is not None and options.keep.exists():
        parser.error(f"--keep: {options.keep} is there already; name a new folder")
    with tempfile.TemporaryDirectory(prefix="mmfree-prove-") as name:
        folder = options.keep or Path(name)
        return _run_all(proofs, folder, options.jobs, options.seconds, kept=bool(options.keep))


def positive(text: str) -> int:
    """For argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _run_all(
    proofs: list[Proof], folder: Path, jobs: int, seconds: int | None, *, kept: bool
) -> int:
    def verdict_of(proof: Proof) -> Verdict:
        return run(proof, folder / proof.name, seconds=seconds)

    states: Counter[str] = Counter()
    properties = 0
    with ThreadPoolExecutor(jobs) as pool:
        for proof, verdict in zip(
            proofs,
            tqdm(pool.map(verdict_of, proofs), total=len(proofs), unit="proof", disable=None),
            strict=True,
        ):
            states[verdict.state] += 1
            properties += verdict.properties
            reach = f"k = {proof.depth}" if proof.induction else f"{proof.depth} cycles"
            print(
                f"{verdict.state:<12}{proof.name:<36}{reach:<12}{verdict.properties:>4} properties"
                f"{verdict.seconds:>8.1f} s",
                flush=True,
            )
            if not verdict.holds:
                print(verdict.why)
                if verdict.waveform is not None:
                    print(f"waveform: {verdict.waveform if kept else '--keep FOLDER keeps it'}")
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    print(f"{len(proofs)} proofs of {properties} properties: {counted}")
    return int(not set(states) <= {PROVEN, BOUNDED})


if __name__ == "__main__":
    sys.exit(main())
