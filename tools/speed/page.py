"""How fast the chip plays in a page, in headless Chromium.

    python -m tools.speed.page addition.tape stories --json

Builds the page of each model, opens it from its file, and measures: bytes and seconds of the build,
seconds until the chip is ready, tokens per second by the clock and by the CPU time of the thread
that simulates, and of how many tokens row and state were the golden model's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from mmfree.errors import InputError, ToolMissing
from mmfree.inference.backends import load_tape_or_export
from sim.page.limits import design_of
from sim.page.page import page_of
from tools.speed.browser import opened, play

FIELDS = {
    "addition": {"a": "9" * 60, "b": "1" * 60},
    "text": {"prompt": "Once upon a time", "tokens": "200", "seed": "1"},
}
"""What is played, by the kind of page."""

ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one page. ``tokens_per_cpu_second``: of the thread that simulates, best of ROUNDS.

    ``compared``, ``equal``: tokens of all rounds; ``values``: what was compared of them.
    """

    model: str
    lanes: int
    bytes: int
    build_seconds: float
    ready_seconds: float
    tokens_per_second: float
    tokens_per_cpu_second: float
    compared: int
    equal: int
    values: int


def measure(model: str, folder: Path) -> Speed:
    """Build a page, and play it."""
    tape = load_tape_or_export(Path(model))
    design = design_of(tape)
    began = time.monotonic()
    page = page_of(tape, Path(model).stem, design)
    build_seconds = time.monotonic() - began
    path = folder / "page.html"
    path.write_bytes(page)
    with opened(path) as browser:
        ready_seconds = int(browser.evaluate("document.body.dataset.ready")) / 1000
        fields = FIELDS["addition" if browser.query_selector("#a") else "text"]
        best, best_cpu, counts = 0.0, 0.0, Counter[str]()
        for _ in range(ROUNDS):
            before, began = worker_seconds(), time.monotonic()
            found = play(browser, **fields)
            wall, spent = time.monotonic() - began, worker_seconds() - before
            counts.update({name: found[name] for name in ("compared", "equal", "values")})
            best = max(best, found["compared"] / wall)
            best_cpu = max(best_cpu, found["compared"] / max(spent, 1e-9))
    return Speed(
        model=model,
        lanes=design.lanes,
        bytes=len(page),
        build_seconds=build_seconds,
        ready_seconds=ready_seconds,
        tokens_per_second=best,
        tokens_per_cpu_second=best_cpu,
        **counts,
    )


def worker_seconds() -> float:
    """CPU seconds of all threads in which browsers run workers (Linux)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/task/*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        if name.partition("(")[2].startswith("DedicatedWorker"):
            ticks += sum(map(int, rest.split()[11:13]))
    return ticks / 100


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="+", help="a tape, or stories")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as name:
            found = [measure(model, Path(name)) for model in options.model]
    except (InputError, ToolMissing) as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps([asdict(speed) for speed in found], indent=1))
        return
    for speed in found:
        print(
            f"{speed.model}: {speed.lanes:,} lanes, {speed.bytes / 1024:,.0f} KiB, built in"
            f" {speed.build_seconds:.1f} s, ready in {speed.ready_seconds:.2f} s;"
            f" {speed.tokens_per_second:,.0f} tokens/s, {speed.tokens_per_cpu_second:,.0f} of CPU"
            f" time; {speed.equal:,} of {speed.compared:,} tokens equal,"
            f" {speed.values:,} values"
        )


if __name__ == "__main__":
    main()
