"""How fast a backend is: tokens per second of writing, and of reading a prompt."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mmfree.inference.backends import Backend
from mmfree.inference.cpu import CpuBackend
from mmfree.inference.generate import generate_rows

PROMPT = 64
"""Tokens of the prompt."""

CPU_INFO = Path("/proc/cpuinfo")

READS = 10
"""Of the packed weights: the shortest counts."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured of a backend, each the best of several runs: others only disturb.

    Attributes
    ----------
    threads
        Of a player that has a choice.
    path
        Its instruction set (``mmfree.inference.native.library.PATHS``).
    decode_tokens_per_second
        Rows chosen at temperature 0, one after another, each fed back.
    prompt_tokens_per_second
        Of ``PROMPT`` tokens, up to the first row that is chosen after them.
    weights_bytes
        Packed weights, which each token reads once.
    read_bytes_per_second
        Of a pure read of the same bytes, by the same threads.
    huge_pages
        Share of them in huge pages; None where no system tells.
    """

    backend: str
    decode_tokens_per_second: float
    prompt_tokens_per_second: float
    threads: int | None = None
    path: str | None = None
    weights_bytes: int | None = None
    read_bytes_per_second: float | None = None
    huge_pages: float | None = None

    @property
    def share_of_read(self) -> float | None:
        """Speed of decoding over that of a pure read: 1 is what memory allows."""
        if self.weights_bytes is None or self.read_bytes_per_second is None:
            return None
        return self.decode_tokens_per_second * self.weights_bytes / self.read_bytes_per_second


def measure_speed(backend: Backend, seconds: float) -> Speed:
    """Measure decode and prompt of a backend, each for ``seconds`` and at least one run.

    It writes on where a text would end.
    """
    backend.end_ids = ()
    prompt = [position % backend.tokenizer.vocab_size for position in range(PROMPT)]

    def write(count: int) -> None:
        _write(backend, prompt[:1], count)

    def read(count: int) -> None:
        for _ in range(count):
            _write(backend, prompt, 1)

    found = Speed(
        backend=backend.name,
        decode_tokens_per_second=best_rate(write, seconds),
        prompt_tokens_per_second=PROMPT * best_rate(read, seconds),
    )
    if not isinstance(backend, CpuBackend):
        return found
    player = backend.player
    size = player.weights_bytes()
    return replace(
        found,
        threads=player.threads,
        path=player.path,
        weights_bytes=size,
        read_bytes_per_second=size / min(player.read_weights() for _ in range(READS)),
        huge_pages=player.huge_pages(),
    )


def _write(backend: Backend, prompt: list[int], count: int) -> None:
    for _ in generate_rows(backend, prompt, count, temperature=0, seed=0):
        pass


def processor_name() -> str:
    """What the system calls its processor."""
    try:
        info = CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        info = ""
    found = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def best_rate(work: Callable[[int], object], seconds: float) -> float:
    """Most that ``work`` did in a second, of what it was asked for: 1, then more while that takes
    little time.
    """
    count, best, until = 1, 0.0, time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        work(count)
        now = time.perf_counter()
        best = max(best, count / (now - began))
        if now >= until:
            return best
        if now - began < seconds / 8:
            count *= 2
