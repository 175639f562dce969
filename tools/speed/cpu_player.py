"""What the fast player does while it is timed: random tapes, decoding, prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from mmfree.contract.shape import AbsmaxConfig, AnyConfig, ModelConfig
from mmfree.golden.sampling import seed_registers
from mmfree.inference.native.player import Player, choice


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
