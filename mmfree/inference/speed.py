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
from mmfree.inference.generate import ChoosesItself, generate_rows

PROMPT = 64
"""Tokens of the prompt."""

CPU_INFO = Path("/proc/cpuinfo")

WORTH_READING = 1 << 20
"""Bytes of packed weights from which on a pure read of them says something of memory."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured of a backend, each the best of several runs: others only disturb.

    Attributes
    ----------
    threads
        Of cpu, for a single sequence.
    automatic
        Whether it chose their number itself, and may play with fewer or more, as it does by
        default.
    path
        Its instruction set (``mmfree.inference.native.library.PATHS``).
    decode_tokens_per_second
        Rows chosen at temperature 0, one after another, each fed back.
    prompt_tokens_per_second
        Of ``PROMPT`` tokens, up to the first row that is chosen after them; of a chip, of as many
        as take long enough.
    weights_bytes
        Packed weights, which each token reads once.
    read_bytes_per_second
        Of a pure read of the same bytes, by the same threads; None below ``WORTH_READING``.
    huge_pages
        Share of them in huge pages; None where no system tells.
    """

    backend: str
    decode_tokens_per_second: float
    prompt_tokens_per_second: float
    threads: int | None = None
    automatic: bool | None = None
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
    """Measure decode and prompt of a backend, each for ``seconds`` and at least twice.

    It writes on where a text would end.
    """
    backend.end_ids = ()

    def write(count: int) -> None:
        _write(backend, 1, count)

    def read(count: int) -> None:
        for _ in range(count):
            _write(backend, PROMPT, 1)

    write(1)  # what is loaded, built or started when it is first needed
    if isinstance(backend, ChoosesItself):
        return Speed(
            backend=backend.name,
            decode_tokens_per_second=rate_beyond_start(write, seconds),
            prompt_tokens_per_second=rate_beyond_start(
                lambda count: _write(backend, count, 1), seconds
            ),
        )
    found = Speed(
        backend=backend.name,
        decode_tokens_per_second=best_rate(write, seconds),
        prompt_tokens_per_second=PROMPT * best_rate(read, seconds),
    )
    if not isinstance(backend, CpuBackend):
        return found
    player = backend.player
    found = replace(
        found,
        threads=player.threads,
        automatic=player.automatic,
        path=player.path,
        weights_bytes=player.weights_bytes(),
    )
    if player.weights_bytes() < WORTH_READING:
        return found
    rate = best_rate(lambda count: [player.read_weights() for _ in range(count)], seconds / 2)
    return replace(
        found,
        read_bytes_per_second=rate * player.weights_bytes(),
        huge_pages=player.huge_pages(),
    )


def _write(backend: Backend, positions: int, count: int) -> None:
    prompt = [position % backend.tokenizer.vocab_size for position in range(positions)]
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
    little time; at least twice.
    """
    count, best, runs, until = 1, 0.0, 0, time.perf_counter() + seconds
    while True:
        took = _seconds(work, count)
        best, runs = max(best, count / took), runs + 1
        if time.perf_counter() >= until and runs > 1:
            return best
        if took < seconds / 8:
            count *= 2


def rate_beyond_start(work: Callable[[int], object], seconds: float) -> float:
    """What ``work`` does in a second beyond the first of what it is asked for, whose time holds a
    start, as of a simulation; of enough to take ``seconds`` longer.
    """
    count, first = 1, _seconds(work, 1)
    while (longer := _seconds(work, 1 + count) - first) < seconds:
        count *= 2
    return count / longer


def _seconds(work: Callable[[int], object], count: int) -> float:
    began = time.perf_counter()
    work(count)
    return time.perf_counter() - began
