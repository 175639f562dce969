"""Tokens per second of the fast player, and how near it comes to reading its weights.

    python -m tools.speed.cpu_player                       # 370M, random, pow2, one thread
    python -m tools.speed.cpu_player --sizes 256 768 6 256 --published --threads 2

Of a random tape. Measured: the best of several runs of decode (each token's row is fed back) and of
a prompt, and of a pure read of the packed weights. MMFREE_CPU_PATH chooses the instruction set.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmfree.contract.shape import AbsmaxConfig, AnyConfig, ModelConfig
from mmfree.golden.sampling import seed_registers
from mmfree.inference.native.player import Player, choice
from tools.measure.large_model import random_tape

SECONDS = 3.0
PROMPT = 64


def config_of(sizes: Sequence[int], *, published: bool) -> AnyConfig:
    """A model of hidden and intermediate size, layers and vocabulary."""
    hidden, intermediate, layers, vocabulary = sizes
    shape = {"hidden_size": hidden, "intermediate_size": intermediate, "num_layers": layers}
    if published:
        return AbsmaxConfig(vocab_size=vocabulary, **shape)
    return ModelConfig(vocab_size=vocabulary, head_size=vocabulary, gate="sigmoid", **shape)


def best_of(work: Callable[[], float], seconds: float) -> float:
    """Shortest time that some work says it took, in about that many seconds of runs."""
    until = time.perf_counter() + seconds
    best = work()
    while time.perf_counter() < until:
        best = min(best, work())
    return best


def decoding(player: Player, count: int) -> Callable[[], float]:
    """What decodes that many tokens, each fed back, and returns the seconds."""
    state, rows = player.state(1), np.zeros(player.tape.config.head_size, dtype=bool)
    logits = player.run_to_last(np.array([[1]]), state)[0]
    greedy = choice(seed_registers(0), 0, 16, None)
    return timed(lambda: player.draw(logits, state, count, greedy, rows, feeds_last=True))


def reading(player: Player, count: int) -> Callable[[], float]:
    """What reads a prompt of that many tokens and returns the seconds."""
    state, prompt = player.state(1), np.arange(count)[None] % player.tape.config.vocab_size
    return timed(lambda: player.run_to_last(prompt, state))


def timed(action: Callable[[], object]) -> Callable[[], float]:
    """What does it and returns the seconds."""

    def work() -> float:
        before = time.perf_counter()
        action()
        return time.perf_counter() - before

    return work


def measure(player: Player) -> dict[str, object]:
    """What the player reaches, for JSON."""
    count = max(2, 100_000_000 // player.tape.config.num_ternary_weights)
    decode = best_of(decoding(player, count), SECONDS)
    prompt = best_of(reading(player, PROMPT), SECONDS)
    read = min(player.read_weights() for _ in range(10))
    size = player.weights_bytes()
    return {
        "path": player.path,
        "threads": player.threads,
        "weights_bytes": size,
        "decode_tokens_per_second": count / decode,
        "prompt_tokens_per_second": PROMPT / prompt,
        "read_gb_per_second": size / read / 1e9,
        "share_of_read": read / (decode / count),
    }


def main() -> None:
    """Print what was measured as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=4,
        default=[1024, 2816, 24, 32000],
        metavar=("D", "I", "L", "V"),
        help="hidden and intermediate size, layers, vocabulary (default: %(default)s)",
    )
    parser.add_argument(
        "--published", action="store_true", help="in the arithmetic of published checkpoints"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default 1)")
    options = parser.parse_args()
    config = config_of(options.sizes, published=options.published)
    with tempfile.TemporaryDirectory() as folder:
        player = Player(random_tape(config, 0, Path(folder)), options.threads)
        print(json.dumps(measure(player), indent=1))


if __name__ == "__main__":
    main()
