"""Ranges: how close each intermediate comes to its limits, and which tapes saturate too often."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mmfree.contract.pow2 import INT8_MAX, INT8_MIN, INT16_MAX, INT16_MIN
from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.inference.backends import Backend, GoldenBackend
from mmfree.tape.pow2 import Tape
from mmfree.tasks.catalog import TASKS
from mmfree.text.corpus import read_text
from mmfree.text.loading import load_corpus
from mmfree.text.tokenizer import Tokenizer, reads_text, text_tokenizer
from mmfree.text.windows import streams

OFTEN = 0.01
"""A tape is refused if a larger share of an intermediate's values lies at its limit."""

EXAMPLES, LENGTH = 64, 64
"""How many sequences are played, and of how many bits, columns (two tokens each) or tokens."""

BYTES_PER_TOKEN = 16
"""More than a token of text has on average: so much of it is tokenized."""

_INT8, _INT16 = (INT8_MIN, INT8_MAX), (INT16_MIN, INT16_MAX)
_LIMITS = {
    **dict.fromkeys(("q", "i", "g", "gate", "up"), _INT8),
    **dict.fromkeys(("embedding", "h", "u", "y", "x", "logits"), _INT16),
}
"""Intermediates of the golden model's trace that have a fixed width."""

_JUDGED = {
    "gates": ("i", "g", "h", "u"),
    "output": ("y", "x"),
    "glu": ("gate", "up", "u"),
    "down": ("y", "x"),
    "head": ("logits",),
}
"""Those of each kind of segment that saturate because an exponent is too large. q is made to fill
its width.
"""


class SaturationError(InputError):
    """A tape saturates too often to be the model that was trained."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """What was seen of one intermediate.

    ``largest``: its largest magnitude; ``limit``: the largest that its width holds;
    ``share_at_limit``: share of its values at either end.
    """

    segment: str
    name: str
    largest: int
    limit: int
    share_at_limit: float

    @property
    def use(self) -> float:
        """largest / limit."""
        return self.largest / self.limit


class _Seen:
    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.largest = self.count = self.at_limit = 0

    def add(self, values: NDArray[np.integer]) -> None:
        self.largest = max(self.largest, int(np.abs(values.astype(np.int64)).max()))
        self.count += values.size
        self.at_limit += int(((values <= self.low) | (values >= self.high)).sum())


def real_ids(tokenizer: Tokenizer, text: bytes) -> NDArray[np.int64]:
    """Sequences of real data, [B, T]: examples of a task, or the beginning of ``text``, UTF-8."""
    for task in TASKS.values():
        if task.tokenizer == tokenizer.kind:
            examples = None if task.examples is None else EXAMPLES
            return task.draw(np.random.default_rng(0), LENGTH, examples).ids
    reader = text_tokenizer(tokenizer)
    (tokens,) = reader.encode_texts(
        [text[: BYTES_PER_TOKEN * EXAMPLES * LENGTH].decode("utf-8", "ignore")]
    )
    return streams(tokens[: EXAMPLES * LENGTH], shortest=LENGTH, start=reader.start).ids


def ranged_tape(backend: Backend) -> Tape | None:
    """The tape whose ranges a backend shows, None if it shows none.

    Raises
    ------
    InputError
        If the tape's intermediates have no fixed width.
    """
    if not isinstance(backend, GoldenBackend):
        return None
    if not isinstance(backend.tape, Tape):
        raise InputError(
            f"--ranges: a tape of {backend.tape.arithmetic} arithmetic (a published checkpoint);"
            " ranges are for models trained here"
        )
    return backend.tape


def measure_ranges(tape: Tape, ids: NDArray[np.integer]) -> list[Range]:
    """Ranges of every intermediate, in the order of use, while ids [B, T] are played.

    Raises
    ------
    InputError
        If there is no position to play.
    """
    if not ids.size:
        raise InputError("there is no data to watch ranges on: give more text")
    golden = Golden(tape)
    fan_in = {segment.name: segment.fan_in for segment in tape.segments}
    seen: dict[str, _Seen] = {}

    def watch(name: str, values: NDArray[np.int32]) -> None:
        segment, _, kind = name.rpartition("/")
        if kind == "acc":
            bound = 128 * fan_in[segment]
            seen.setdefault(name, _Seen(-bound, bound)).add(values)
        elif kind in _LIMITS:
            seen.setdefault(name, _Seen(*_LIMITS[kind])).add(values)

    state = golden.state(len(ids))
    with threadpool_limits(1, user_api="blas"):
        for column in ids.T:
            _, state = golden.step(column, state, trace=watch)
    return [
        Range(
            segment=name.rpartition("/")[0] or "embedding",
            name=name.rpartition("/")[2],
            largest=found.largest,
            limit=max(-found.low, found.high),
            share_at_limit=found.at_limit / found.count,
        )
        for name, found in seen.items()
    ]


def refuse_saturation(tape: Tape, ranges: list[Range]) -> None:
    """Raise SaturationError, naming the worst intermediate, if one of a tape saturates often.

    Raises
    ------
    ValueError
        If ``ranges`` lack an intermediate that is judged: the tape says which.
    """
    by_name = {(found.segment, found.name): found for found in ranges}
    due = [(segment.name, name) for segment in tape.segments for name in _JUDGED[segment.kind]]
    if missing := [place for place in due if place not in by_name]:
        raise ValueError(f"ranges lack {len(missing)} of {len(due)}, such as {missing[0]}")
    judged = [by_name[place] for place in due]
    worst = max(judged, key=lambda found: found.share_at_limit)
    if worst.share_at_limit > OFTEN:
        raise SaturationError(
            f"{worst.segment}, {worst.name}: {100 * worst.share_at_limit:.1f} % of the values lie"
            f" at the limit {worst.limit} (at most {100 * OFTEN:.0f} % may): the scale of its"
            " matrix is too large; train again with a lower learning rate or more weight decay, or"
            " export with --allow-saturation"
        )


def describe_ranges(ranges: list[Range]) -> list[str]:
    """A table for people."""
    lines = [f"{'segment':<18}{'value':<10}{'largest':>10}{'limit':>10}{'use':>8}{'at limit':>11}"]
    last = ""
    for found in ranges:
        name = found.segment if found.segment != last else ""
        last = found.segment
        lines.append(
            f"{name:<18}{found.name:<10}{found.largest:>10,}{found.limit:>10,}"
            f"{100 * found.use:>7.1f}%{100 * found.share_at_limit:>10.3f}%"
        )
    return lines


def ranges_to_dicts(ranges: list[Range]) -> list[dict[str, Any]]:
    """Plain JSON types."""
    return [asdict(found) | {"use": found.use} for found in ranges]


def real_sequences(tokenizer: Tokenizer, data: Path | None) -> NDArray[np.int64]:
    """Sequences to watch ranges on: of a task, of ``data``, or of the built-in text."""
    if data is not None and not reads_text(tokenizer):
        raise InputError(f"--data: a model for {tokenizer.kind} makes its own examples")
    text = b""
    if reads_text(tokenizer):
        text = read_text(data) if data is not None else load_corpus([]).validation.tobytes()
    return real_ids(tokenizer, text)
