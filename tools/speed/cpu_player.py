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
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.golden.sampling import seed_registers
from mmfree.inference.native.player import Player, choice
from tools.measure.large_model import random_tape

SECONDS = 3.0
PROMPT = 64


def best_of(action: Callable[[], object]) -> float:
    """Shortest time of it, in seconds, in SECONDS of runs."""
    best, until = float("inf"), time.perf_counter() + SECONDS
    action()
    while time.perf_counter() < until:
        before = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - before)
    return best


def measure(player: Player) -> dict[str, object]:
    """What the player reaches, for JSON."""
    config = player.tape.config
    state, rows = player.state(1), np.zeros(config.head_size, dtype=bool)
    logits = player.run_to_last(np.array([[1]]), state)[0]
    greedy = choice(seed_registers(0), 0, 16, None)
    count = max(2, 100_000_000 // config.num_ternary_weights)
    prompt = np.arange(PROMPT)[None] % config.vocab_size
    decode = best_of(lambda: player.draw(logits, state, count, greedy, rows, feeds_last=True))
    reading = best_of(lambda: player.run_to_last(prompt, state))
    read = min(player.read_weights() for _ in range(10))
    size = player.weights_bytes()
    return {
        "path": player.path,
        "threads": player.threads,
        "weights_bytes": size,
        "decode_tokens_per_second": count / decode,
        "prompt_tokens_per_second": PROMPT / reading,
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
    hidden, intermediate, layers, vocabulary = options.sizes
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_layers": layers}
    config = (
        AbsmaxConfig(vocab_size=vocabulary, **sizes)
        if options.published
        else ModelConfig(vocab_size=vocabulary, head_size=vocabulary, gate="sigmoid", **sizes)
    )
    with tempfile.TemporaryDirectory() as folder:
        player = Player(random_tape(config, 0, Path(folder)), options.threads)
        print(json.dumps(measure(player), indent=1))


if __name__ == "__main__":
    main()
