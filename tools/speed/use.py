"""What the fast player makes of scoring a text and of loading a large tape.

    python -m tools.speed.use                              # the text preset, the 370M shape
    python -m tools.speed.use --bytes 50000 --shape 1.3b --json

Of random tapes. Scoring, as `mmfree evaluate` does it: seconds of golden and of cpu in turns, the
best of each, all of it and the model alone; their digits must be equal. Loading, in a process of
its own for each arithmetic: seconds to open the tape and to pack its weights, and what that takes
of memory, over the packed weights and the embedding.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from mmfree.errors import CheckFailed
from mmfree.inference.backends import Backend, play_tape
from mmfree.inference.native.library import load_library
from mmfree.inference.native.player import Player
from mmfree.inference.scoring import evaluate_text
from mmfree.inference.shapes import PUBLISHED, SHAPES
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import copy_tape, open_tape
from mmfree.text.loading import load_corpus
from mmfree.training.presets import text_model
from tools.measure.large_model import random_tape

ROUNDS = 3


def score(backend: Backend, text: bytes) -> dict[str, float]:
    """Seconds in all and of the model alone, and the score."""
    run, spent = backend.run, 0.0

    def timed(*given: Any) -> Any:
        nonlocal spent
        before = time.perf_counter()
        result = run(*given)
        spent += time.perf_counter() - before
        return result

    backend.run = timed  # type: ignore[method-assign]
    before = time.perf_counter()
    found = evaluate_text(backend, text)
    seconds = time.perf_counter() - before
    backend.run = run  # type: ignore[method-assign]
    return {"seconds": seconds, "model_seconds": spent, "bits_per_byte": found.bits_per_byte}


def compare_scoring(size: int) -> dict[str, Any]:
    """Golden and cpu, in turns.

    Raises
    ------
    CheckFailed
        If a digit differs.
    """
    text = np.asarray(load_corpus([]).training)[:size].astype(np.uint8).tobytes()
    text = text.decode("utf-8", "ignore").encode()
    with tempfile.TemporaryDirectory() as folder:
        tape = cast(Tape, random_tape(text_model(), 0, Path(folder)))
        tape = replace(tape, tokenizer={"kind": "bytes"})
        backends = [play_tape(tape, name, None) for name in ("golden", "cpu")]
        found = [[score(backend, text) for backend in backends] for _ in range(ROUNDS)]
    if len({each["bits_per_byte"] for turn in found for each in turn}) != 1:
        raise CheckFailed(f"golden and cpu give other scores: {found}")
    best: dict[str, Any] = {"bytes": len(text)}
    for part in ("seconds", "model_seconds"):
        golden, cpu = (min(turn[who][part] for turn in found) for who in (0, 1))
        best[part] = {"golden": golden, "cpu": cpu, "ratio": golden / cpu}
    return best


def resident() -> int:
    """Bytes of memory that this process takes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) << 10


def load(path: Path) -> dict[str, float]:
    """Open and pack a tape; in a process that has done nothing else."""
    load_library()
    before, began = resident(), time.perf_counter()
    tape = open_tape(path)
    opened = time.perf_counter()
    player = Player(tape, 1)
    packed = time.perf_counter()
    needed = player.weights_bytes() + tape.config.vocab_size * tape.config.hidden_size
    return {
        "open_seconds": opened - began,
        "pack_seconds": packed - opened,
        "needed_bytes": needed,
        "memory_over_needed": (resident() - before) / needed,
    }


def measure_loading(shape: str) -> dict[str, Any]:
    """Of both arithmetics."""
    found = {}
    for configs in (SHAPES, PUBLISHED):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tape"
            tape = random_tape(configs[shape], 0, Path(folder))
            copy_tape(tape, path)
            command = [sys.executable, "-m", "tools.speed.use", "--load", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[tape.arithmetic] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print what was measured, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bytes", type=int, default=200_000, metavar="N", help="of text (default %(default)s)"
    )
    parser.add_argument(
        "--shape", choices=sorted(SHAPES), default="370m", help="to load (default %(default)s)"
    )
    parser.add_argument("--load", type=Path, metavar="TAPE", help="only load this one, as JSON")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.load is not None:
        print(json.dumps(load(options.load)))
        return
    scoring, loading = compare_scoring(options.bytes), measure_loading(options.shape)
    if options.json:
        print(json.dumps({"scoring": scoring, "loading": loading}, indent=1))
        return
    for part, name in (("model_seconds", "the model"), ("seconds", "all")):
        times = scoring[part]
        print(
            f"scoring {scoring['bytes']:,} bytes, {name}: golden {times['golden']:.2f} s, cpu"
            f" {times['cpu']:.2f} s, {times['ratio']:.1f} times as fast, the same digits"
        )
    for arithmetic, took in loading.items():
        print(
            f"{options.shape} in {arithmetic}: opened in {took['open_seconds']:.2f} s, packed in"
            f" {took['pack_seconds']:.2f} s, {took['memory_over_needed']:.2f} times its packed"
            f" weights and embedding ({took['needed_bytes'] / 1e6:.0f} MB)"
        )


if __name__ == "__main__":
    main()
