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
from mmfree.inference.backends import Backend, tape_player
from mmfree.inference.native.player import Player
from mmfree.inference.tape_backends import TapeBackend
from mmfree.tape.pow2 import Tape
from mmfree.tasks.catalog import TASKS
from mmfree.text.corpus import BUILT_IN
from mmfree.text.loading import first_tokens, load_corpus
from mmfree.text.sources import DEFAULT_FIELD
from mmfree.text.tokenizer import TextTokenizer, Tokenizer, text_tokenizer
from mmfree.training.metrics import OFTEN
from mmfree.training.provenance import HELD_OUT_TOKENS, read_provenance, watched_ids

RANGED = ("golden", "cpu")
"""Backends that show ranges."""

EXAMPLES, LENGTH = 64, 64
"""How many sequences of a task are played, and of how many bits or columns (two tokens each)."""

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


@dataclass(frozen=True)
class RealData:
    """Sequences ``ids`` [B, T] of real data, and what they are: ``source``, for people."""

    ids: NDArray[np.int64]
    source: str


def real_data(
    tokenizer: Tokenizer, data: list[Path], *, field: str = DEFAULT_FIELD, run: Path | None = None
) -> RealData:
    """What a model's ranges are watched on.

    Examples of its task; or the beginning of a text: of ``data`` (as ``load_corpus`` takes it), of
    what the run in the folder ``run`` held out, or of what is held out of the built-in text.

    Raises
    ------
    InputError
        If ``data`` is given and the model is for a task, or it cannot be used, or the run's record
        is damaged or has tokens that the model does not know.
    """
    for task in TASKS.values():
        if task.tokenizer == tokenizer.kind:
            if data:
                raise InputError(f"--data: a model for {tokenizer.kind} makes its own examples")
            examples = None if task.examples is None else EXAMPLES
            ids = task.draw(np.random.default_rng(0), LENGTH, examples).ids
            return RealData(ids, f"examples of the task {tokenizer.kind}")
    reader = text_tokenizer(tokenizer)
    if data:
        tokens, source = first_tokens(data, reader, HELD_OUT_TOKENS, field=field)
    else:
        tokens, source = _held_out(reader, run)
    return RealData(watched_ids(tokens, reader.start), source)


def _held_out(reader: TextTokenizer, run: Path | None) -> tuple[NDArray[np.integer], str]:
    record = None if run is None else read_provenance(run)
    if record is None or not record.held_out:
        text = load_corpus([]).validation.tobytes()[: BYTES_PER_TOKEN * HELD_OUT_TOKENS]
        (tokens,) = reader.encode_texts([text.decode("utf-8", "ignore")])
        return tokens, f"{BUILT_IN}, held out: the model does not say what it was trained on"
    if max(record.held_out) >= reader.vocab_size:
        raise InputError(f"{run}: its record of the text has tokens that its tokenizer has not")
    return np.array(record.held_out, dtype=np.int64), f"{record.text}, held out in training"


def ranged_tape(backend: Backend) -> Tape | None:
    """The tape whose ranges a backend shows, None if it shows none.

    Raises
    ------
    InputError
        If the tape's intermediates have no fixed width.
    """
    if not isinstance(backend, TapeBackend) or backend.name not in RANGED:
        return None
    if not isinstance(backend.tape, Tape):
        raise InputError(
            f"--ranges: a tape of {backend.tape.arithmetic} arithmetic (a published checkpoint);"
            " ranges are for models trained here"
        )
    return backend.tape


def measure_ranges(tape: Tape, ids: NDArray[np.integer], player: str | None = None) -> list[Range]:
    """Ranges of every intermediate, in the order of use, while ids [B, T] are played.

    ``player``: of RANGED: "cpu" counts as it plays, "golden" is watched by its trace; None:
    ``tape_player``.

    Raises
    ------
    InputError
        If there is no position to play.
    """
    if not ids.size:
        raise InputError("there is no data to watch ranges on: give more text")
    if (player or tape_player()) == "golden":
        return _golden_ranges(tape, ids)
    fast, fan_in = Player(tape), _fan_in(tape)
    return [
        _range(segment, name, fan_in.get(segment, 0), *seen)
        for (segment, name), seen in fast.watch(ids, fast.state(len(ids))).items()
    ]


def _golden_ranges(tape: Tape, ids: NDArray[np.integer]) -> list[Range]:
    golden, fan_in = Golden(tape), _fan_in(tape)
    seen: dict[str, tuple[int, int, int]] = {}

    def watch(name: str, values: NDArray[np.int32]) -> None:
        segment, _, kind = name.rpartition("/")
        if (limits := _limits(kind, fan_in.get(segment, 0))) is None:
            return
        low, high = limits
        largest, at_limit, count = seen.get(name, (0, 0, 0))
        seen[name] = (
            max(largest, int(np.abs(values.astype(np.int64)).max())),
            at_limit + int(((values <= low) | (values >= high)).sum()),
            count + values.size,
        )

    state = golden.state(len(ids))
    with threadpool_limits(1, user_api="blas"):
        for column in ids.T:
            _, state = golden.step(column, state, trace=watch)
    return [
        _range(segment or "embedding", kind, fan_in.get(segment, 0), *found)
        for name, found in seen.items()
        for segment, _, kind in [name.rpartition("/")]
    ]


def _fan_in(tape: Tape) -> dict[str, int]:
    return {segment.name: segment.fan_in for segment in tape.segments}


def _limits(name: str, fan_in: int) -> tuple[int, int] | None:
    """Of an intermediate's width; None: it has no fixed one."""
    return (-128 * fan_in, 128 * fan_in) if name == "acc" else _LIMITS.get(name)


def _range(segment: str, name: str, fan_in: int, largest: int, at_limit: int, count: int) -> Range:
    limits = _limits(name, fan_in)
    assert limits is not None, name
    return Range(
        segment=segment,
        name=name,
        largest=largest,
        limit=-limits[0],
        share_at_limit=at_limit / count,
    )


def judged_ranges(tape: Tape, ranges: list[Range]) -> list[Range]:
    """Of those of a tape, the ones that saturate because an exponent is too large.

    Raises
    ------
    ValueError
        If ``ranges`` lack one of them: the tape says which there are.
    """
    by_name = {(found.segment, found.name): found for found in ranges}
    due = [(segment.name, name) for segment in tape.segments for name in _JUDGED[segment.kind]]
    if missing := [place for place in due if place not in by_name]:
        raise ValueError(f"ranges lack {len(missing)} of {len(due)}, such as {missing[0]}")
    return [by_name[place] for place in due]


def refuse_saturation(tape: Tape, ranges: list[Range], source: str) -> None:
    """Raise SaturationError, naming the worst intermediate, if one of a tape saturates often.

    ``source``: what the ranges were seen on.

    Raises what ``judged_ranges`` does.
    """
    worst = max(judged_ranges(tape, ranges), key=lambda found: found.share_at_limit)
    if worst.share_at_limit > OFTEN:
        raise SaturationError(
            f"{worst.segment}, {worst.name}: {100 * worst.share_at_limit:.1f} % of the values lie"
            f" at the limit {worst.limit} (at most {100 * OFTEN:.0f} % may), on {source}: the scale"
            " of its matrix is too large; train again with a lower learning rate or more weight"
            " decay, watch another text with --data, or export with --allow-saturation"
        )


def describe_ranges(ranges: list[Range], source: str = "") -> list[str]:
    """A table for people, below what it was seen on."""
    lines = [f"ranges on {source}:"] if source else []
    lines += [f"{'segment':<18}{'value':<10}{'largest':>10}{'limit':>10}{'use':>8}{'at limit':>11}"]
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
