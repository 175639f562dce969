"""Training speed beside other work, by how torch's threads are set up.

    python -m tools.measure.training_threads --busy 4 --rounds 3 --steps 60
    python -m tools.measure.training_threads --busy 0 --spinning

Measured: `mmfree train text` for a few steps, in a process of its own each time, in turns: with
default settings, with OMP_NUM_THREADS=1, and with --spinning as OpenMP waits by itself, always.
Tokens per second of whole runs, validation and saves included; imports are not. --busy: processes
that compute meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = {
    "default": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
}
"""What the environment says; none of it otherwise."""

_TRAIN = """
import sys, mmfree
print(mmfree.train("text", sys.argv[1], steps=int(sys.argv[2])).tokens_per_second)
"""


def tokens_per_second(steps: int, setting: dict[str, str]) -> float:
    """Of one short run."""
    given = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    environment = {name: value for name, value in os.environ.items() if name not in given}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _TRAIN, str(Path(folder) / "run"), str(steps)],
            env=environment | setting,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return float(done.stdout)


def main(arguments: list[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, default=4, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--steps", type=int, default=60, metavar="N")
    parser.add_argument("--spinning", action="store_true", help="also as OpenMP waits by itself")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.steps) < 1 or options.busy < 0:
        parser.error("--rounds and --steps must be at least 1, --busy 0 or more")
    settings = {name: value for name, value in SETTINGS.items() if name != "spinning"}
    if options.spinning:
        settings["spinning"] = SETTINGS["spinning"]
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)
    ]
    found: dict[str, list[float]] = {name: [] for name in settings}
    try:
        for _ in range(options.rounds):
            for name, setting in settings.items():
                found[name].append(round(tokens_per_second(options.steps, setting), 1))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    middle = {name: statistics.median(values) for name, values in found.items()}
    measured = {
        "label": "measured",
        "processors": len(os.sched_getaffinity(0)),
        "busy": options.busy,
        "steps": options.steps,
        "tokens_per_second": found,
        "default_by_one_thread": round(middle["default"] / middle["one thread"], 3),
    }
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
