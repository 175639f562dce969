"""``mmfree bench``: tokens per second of what plays a model, and how near memory's limit it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mmfree.cli.options import add_lanes_of_backend, add_model, backend_names
from mmfree.cli.outcome import Outcome
from mmfree.cli.progress import Stages
from mmfree.cli.values import above_zero, whole
from mmfree.errors import InputError
from mmfree.inference.backends import (
    BACKENDS,
    HARDWARE,
    TORCH_BACKENDS,
    Backend,
    check_backend,
    check_lanes_of,
    is_published,
    load_backend,
    load_tape_or_export,
    tape_player,
    tokenizer_at,
)
from mmfree.inference.cpu import CpuBackend
from mmfree.inference.native.library import allowed_threads, check_threads, chosen_path
from mmfree.inference.places import Place, find_model
from mmfree.inference.speed import PROMPT, Speed, measure_speed, processor_name
from mmfree.inference.tape_backends import TapeBackend
from mmfree.report.numbers import plain, with_unit
from mmfree.tape.reading import AnyTape

EXAMPLES = (
    "mmfree bench text.tape",
    "mmfree bench runs/text --backend golden,cpu --threads 1 --json",
)

SECONDS = 2.0
"""Of each measurement, where nobody asks for another time."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_model(parser)
    parser.add_argument(
        "--backend",
        type=backend_names,
        metavar="NAME[,NAME...]",
        help=(
            f"what plays the model, of {', '.join(BACKENDS)} (default: all that play it but the"
            " simulated chip)"
        ),
    )
    parser.add_argument(
        "--threads",
        type=whole(1),
        metavar="N",
        help="of backend cpu (default: 1, and then as many as it takes by itself)",
    )
    parser.add_argument(
        "--seconds",
        type=above_zero("seconds"),
        metavar="S",
        default=SECONDS,
        help="time for each measurement (default: %(default)g)",
    )
    add_lanes_of_backend(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    found = find_model(options.model)
    names = options.backend or _all_that_play(found)
    for name in names:
        check_backend(found, name)
    check_lanes_of(names, options.lanes)
    threads: list[int | None] = [1, None]
    if options.threads is not None:
        if "cpu" not in names:
            raise InputError("--threads: of backend cpu alone; name it, or leave --threads out")
        check_threads(options.threads)
        threads = [options.threads]
    # Not after another backend has been measured.
    tokenizer_at(options.model)
    if "cpu" in names:
        chosen_path()
    speeds = []
    with Stages() as say:
        for backend in _backends(options, names, threads, say):
            speeds.append(measure_speed(backend, options.seconds))
    values = {
        "processor": processor_name(),
        "processors": allowed_threads(),
        "prompt_tokens": PROMPT,
        "results": [asdict(speed) | {"share_of_read": speed.share_of_read} for speed in speeds],
    }
    return Outcome(values, "\n".join(_table(values, speeds)))


def _all_that_play(found: Place) -> list[str]:
    names = ["golden", *(["cpu"] if tape_player() == "cpu" else [])]
    if found.checkpoint is None:
        return names
    return [*(TORCH_BACKENDS[:1] if is_published(found.checkpoint) else TORCH_BACKENDS), *names]


def _backends(
    options: argparse.Namespace, names: list[str], threads: list[int | None], say: Stages
) -> Iterator[Backend]:
    """One after another, cpu with each number of threads; a tape is made but once."""
    tape: AnyTape | None = None
    for name in names:
        if name != "cpu":
            say(name)
            backend = load_backend(options.model, name, options.lanes if name in HARDWARE else None)
            tape = backend.tape if isinstance(backend, TapeBackend) else tape
            yield backend
            continue
        for number in threads:
            say({None: "cpu", 1: "cpu, 1 thread"}.get(number, f"cpu, {number} threads"))
            tape = load_tape_or_export(options.model) if tape is None else tape
            yield CpuBackend(tape, number)


def _table(values: dict[str, Any], speeds: list[Speed]) -> Iterator[str]:
    """A line for each backend, below what it ran on."""
    yield f"tokens/s, best of several runs, on {values['processors']} x {values['processor']}"
    yield (
        f"{'backend':<12}{'path':>8}{'threads':>9}{'decode':>12}{'prompt':>12}{'pure read':>12}"
        f"{'reached':>9}{'huge pages':>12}"
    )
    for speed in speeds:
        threads = f"auto: {speed.threads}" if speed.automatic else speed.threads or ""
        line = f"{speed.backend:<12}{speed.path or '':>8}{threads:>9}"
        line += f"{plain(speed.decode_tokens_per_second, 4):>12}"
        line += f"{plain(speed.prompt_tokens_per_second, 4):>12}"
        if speed.read_bytes_per_second is not None and speed.share_of_read is not None:
            huge = "unknown" if speed.huge_pages is None else f"{100 * speed.huge_pages:.0f} %"
            read = f"{with_unit(speed.read_bytes_per_second, 'B/s')}"
            line += f"{read:>12}{100 * speed.share_of_read:>7.0f} %{huge:>12}"
        yield line.rstrip()
