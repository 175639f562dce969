"""The fast player beside llama.cpp's TQ2_0, at equal numbers of ternary weights.

    python -m tools.speed.llama_cpp                        # three shapes, one thread
    python -m tools.speed.llama_cpp --shapes 370M --threads 2 --json

In turns: llama.cpp (llama_worker.py: a model of llama's architecture), a random tape of pow2, one
of absmax. In each round each decodes 16 tokens, again and again for half a second, and then reads a
prompt of 64. Told: the best of all rounds, and the median of the rounds' ratios.

llama.cpp is built on first use (--llama). Its code for TQ2_0 is AVX2's at best, and a build for
AVX2 is up to 13 % faster on a Zen 4 than one for all that it has (--build; GCC 12). It gets what is
fastest for it: huge pages, flash attention, heads of 128, and the first positions, where attention
costs least; nor does it choose tokens, as ours does. MMFREE_CPU_PATH chooses the instruction set of
ours alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmfree.errors import CheckFailed, InputError, ToolMissing
from mmfree.inference.native.library import chosen_path
from mmfree.inference.native.player import Player
from mmfree.inference.speed import processor_name
from tools.measure.large_model import random_tape
from tools.speed.cpu_player import best_of, config_of, decoding, reading
from tools.speed.llama_build import (
    BUILDS,
    VERSION,
    built_python,
    default_build,
    default_folder,
)

SHAPES = {
    "5.2M": (256, 768, 6, 256),
    "31M": (512, 1536, 8, 4096),
    "370M": (1024, 2816, 24, 32000),
}
"""Hidden and intermediate size, layers, vocabulary."""

POSITIONS = {"decode": 16, "prompt": 64}
"""Of each work."""

TURN_SECONDS = 0.5

LLAMA = "llama.cpp"

_ROOT = Path(__file__).parents[2]

Contestant = dict[str, Callable[[], float]]
"""Work -> what does it and returns the seconds."""


class Worker:
    """llama.cpp with a model, in a process of its own, which waits between turns."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            # Of glibc: pages of large arrays may be huge, which is faster.
            env=os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ternary_weights = int(self._answer()["ternary_weights"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def seconds(self, work: str) -> float:
        """What some work takes."""
        assert self._process.stdin is not None
        # If it has ended, there is no answer.
        with suppress(OSError):
            print(work, POSITIONS[work], file=self._process.stdin, flush=True)
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            told = self._process.communicate()[1].strip().splitlines() or ["it said nothing"]
            code = self._process.returncode
            raise ToolMissing(f"llama.cpp ended with exit code {code}: {told[-1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def play_turns(contestants: dict[str, Contestant], rounds: int) -> dict[str, dict[str, Any]]:
    """By work and contestant: the best tokens/s, and the median of ratios to the first one's."""
    found: dict[str, list[dict[str, float]]] = {work: [] for work in POSITIONS}
    for _ in range(rounds):
        for work, positions in POSITIONS.items():
            found[work].append(
                {
                    name: positions / best_of(contestant[work], TURN_SECONDS)
                    for name, contestant in contestants.items()
                }
            )
    return {
        work: {
            name: {
                "tokens_per_second": max(turn[name] for turn in turns),
                "ratio": statistics.median(turn[name] / turn[LLAMA] for turn in turns),
            }
            for name in contestants
        }
        for work, turns in found.items()
    }


def compare(shape: str, python: Path, threads: int, rounds: int) -> dict[str, Any]:
    """What a shape reaches, for JSON.

    Raises
    ------
    CheckFailed
        If llama.cpp's model has another number of ternary weights.
    """
    sizes = SHAPES[shape]
    options = ["--sizes", *map(str, sizes), "--threads", str(threads)]
    command = [str(python), "-m", "tools.speed.llama_worker", *options]
    contestants: dict[str, Contestant] = {}
    with tempfile.TemporaryDirectory() as folder:
        for published in (False, True):
            config = config_of(sizes, published=published)
            player = Player(random_tape(config, 0, Path(folder)), threads)
            contestants[player.tape.arithmetic] = {
                "decode": decoding(player, POSITIONS["decode"]),
                "prompt": reading(player, POSITIONS["prompt"]),
            }
        with Worker(command) as worker:
            if worker.ternary_weights != config.num_ternary_weights:
                raise CheckFailed(
                    f"{shape}: llama.cpp's model has {worker.ternary_weights} ternary weights,"
                    f" ours {config.num_ternary_weights}: no comparison"
                )
            llama = {work: lambda work=work: worker.seconds(work) for work in POSITIONS}
            results = play_turns({LLAMA: llama, **contestants}, rounds)
    return {"ternary_weights": config.num_ternary_weights, **results}


def table(shapes: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The results for people."""
    yield f"{'tokens/s':<8} {'':<6} {LLAMA:>10} {'pow2':>16} {'absmax':>16}"
    for shape, results in shapes.items():
        for work in POSITIONS:
            found = results[work]
            ours = " ".join(
                f"{found[name]['tokens_per_second']:9,.0f} ({found[name]['ratio']:.1f}x)"
                for name in ("pow2", "absmax")
            )
            yield f"{shape:<8} {work:<6} {found[LLAMA]['tokens_per_second']:10,.0f} {ours}"


def compare_shapes(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, for JSON."""
    python = built_python(options.llama, options.build)
    shapes = {}
    for shape in options.shapes:
        if sys.stderr.isatty():
            print(f"{shape}: {options.rounds} rounds", file=sys.stderr)
        shapes[shape] = compare(shape, python, options.threads, options.rounds)
    return {
        "processor": processor_name(),
        "threads": options.threads,
        "path": chosen_path(),
        "llama_cpp_python": VERSION,
        "llama_cpp_build": options.build,
        "positions": POSITIONS,
        "rounds": options.rounds,
        "shapes": shapes,
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        choices=SHAPES,
        default=list(SHAPES),
        help="of the models, by ternary weights (default: all)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of each player (default %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, metavar="N", help="of turns (default %(default)s)"
    )
    parser.add_argument(
        "--llama",
        type=Path,
        default=default_folder(),
        metavar="FOLDER",
        help="where llama.cpp is built, or has been (default %(default)s)",
    )
    parser.add_argument(
        "--build",
        choices=BUILDS,
        default=default_build(),
        help="of llama.cpp: for AVX2, or for all that this processor has (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    try:
        results = compare_shapes(options)
    except (CheckFailed, InputError, ToolMissing) as error:
        code = 1 if isinstance(error, CheckFailed) else 2
        parser.exit(code, f"{parser.prog}: error: {error}\n")
    if options.json:
        print(json.dumps(results, indent=1))
        return
    print(
        f"{results['processor']}, --threads {options.threads}; ours: {results['path']};"
        f" llama.cpp of llama-cpp-python {VERSION}, built for {options.build}: TQ2_0"
    )
    print("\n".join(table(results["shapes"])))


if __name__ == "__main__":
    main()
