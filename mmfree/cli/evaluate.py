"""``mmfree evaluate``: scores on text, tasks and multiple choice, of one backend or several."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmfree.cli.options import add_lanes_of_backend, add_model, backend_names
from mmfree.cli.outcome import Outcome
from mmfree.cli.values import whole
from mmfree.errors import InputError
from mmfree.inference.backends import (
    BACKENDS,
    HARDWARE,
    Backend,
    check_backend,
    check_lanes_of,
    default_backend,
    load_backend,
    tokenizer_at,
)
from mmfree.inference.choices import Question, evaluate_choices, read_questions
from mmfree.inference.places import find_model, training_of
from mmfree.inference.ranges import (
    RANGED,
    describe_ranges,
    measure_ranges,
    ranged_tape,
    ranges_to_dicts,
    real_data,
)
from mmfree.inference.scoring import (
    TaskResult,
    TextResult,
    check_task,
    evaluate_task,
    score_text,
)
from mmfree.tasks.catalog import TASKS, tasks_of
from mmfree.text.corpus import Text, read_text
from mmfree.text.sources import DEFAULT_FIELD, is_shards
from mmfree.text.tokenizer import Tokenizer

EXAMPLES = (
    "mmfree evaluate runs/text",
    "mmfree evaluate runs/text --data stories.txt --backend fakequant,golden",
    "mmfree evaluate model.tape --task addition --digits 200",
)

_LABELS = {
    "bits_per_byte": "bits per byte",
    "token_perplexity": "token perplexity",
    "word_perplexity": "word perplexity",
    "accuracy": "accuracy",
    "accuracy_error": "+-",
    "accuracy_by_byte": "by byte",
    "accuracy_by_byte_error": "+-",
}
"""Columns of the table, where a result has them."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_model(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help=(
            "UTF-8 text, documents, or shards, of which the held-out part (default: what the"
            " checkpoint's own training held out, or that of the built-in text)"
        ),
    )
    parser.add_argument(
        "--field", metavar="NAME", help="of a record, that holds its text (default: text)"
    )
    parser.add_argument(
        "--words",
        action="store_true",
        help="perplexity per word, too, as it is published for WikiText-2",
    )
    parser.add_argument(
        "--choices",
        type=Path,
        metavar="FILE.jsonl",
        help="multiple choice: query, choices and gold on each line",
    )
    parser.add_argument("--task", metavar="NAME", help=f"one of {', '.join(TASKS)}")
    parser.add_argument(
        "--digits",
        type=whole(1),
        metavar="N",
        help="columns of a sum (default: 100), or bits (default: 512)",
    )
    parser.add_argument(
        "--examples",
        type=whole(1),
        metavar="K",
        help="examples (default: 1000, all held-out pairs, or all questions)",
    )
    parser.add_argument(
        "--ranges",
        action="store_true",
        help="how close each intermediate comes to its limits (backends golden, cpu)",
    )
    parser.add_argument(
        "--backend",
        type=backend_names,
        metavar="NAME[,NAME...]",
        help=(
            f"what plays the model, of {', '.join(BACKENDS)}, several for one table (default:"
            " fakequant for a checkpoint, float for a published one, cpu for a tape)"
        ),
    )
    add_lanes_of_backend(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    asked = [
        f"--{name}" for name in ("data", "task", "choices") if getattr(options, name) is not None
    ]
    if len(asked) > 1:
        raise InputError(f"give {' or '.join(asked)}, not both")
    if options.field is not None and options.data is None:
        raise InputError("--field is of the records of --data: give both, or neither")
    found = find_model(options.model)
    names = options.backend or [default_backend(found)]
    for name in names:
        check_backend(found, name)
    check_lanes_of(names, options.lanes)
    if options.ranges and not set(RANGED) & set(names):
        raise InputError(
            f"--ranges: backend {names[0]} does not show them; use {' or '.join(RANGED)}"
        )
    questions = _check(options, tokenizer_at(options.model))
    # Not before all is checked that can be without torch or a simulator.
    lanes = {name: options.lanes for name in names if name in HARDWARE}
    backends = [load_backend(options.model, name, lanes.get(name)) for name in names]
    ranged = [ranged_tape(backend) if options.ranges else None for backend in backends]
    results, lines = [], []
    for backend in backends:
        values, line = _evaluate(options, backend, questions)
        results.append(values)
        lines.append(line)
    differences = [_difference(results[0], values) for values in results[1:]]
    if differences:
        lines = _table(results, differences)
    for backend, tape, values in zip(backends, ranged, results, strict=True):
        if tape is not None:
            data = [options.data] if options.data is not None else []
            real = real_data(backend.tokenizer, data, **_reading(options))
            ranges = measure_ranges(tape, real.ids, backend.name)
            values |= {"ranges": ranges_to_dicts(ranges), "ranges_on": real.source}
            lines += ["", *describe_ranges(ranges, real.source)]
    values = {"results": results, "differences": differences} if differences else results[0]
    return Outcome(values, "\n".join(lines))


def _difference(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The scores of ``other`` less those of ``first``, where both are finite."""
    scores = [name for name in _LABELS if name in first and not name.endswith("_error")]
    found = {
        name: other[name] - first[name]
        for name in scores
        if math.isfinite(first[name]) and math.isfinite(other[name])
    }
    return {"backend": other["backend"], "less": first["backend"]} | found


def _table(results: list[dict[str, Any]], differences: list[dict[str, Any]]) -> list[str]:
    """A row for each backend, after what was measured, and its difference from the first."""
    first = results[0]
    columns = [name for name in _LABELS if name in first]
    if "bytes" in first:
        lines = [f"{first['bytes']:,} bytes of text, {first['tokens']:,} tokens"]
    elif "task" in first:
        lines = [f"{first['task']}, {first['examples']:,} examples"]
    else:
        lines = [f"{first['examples']:,} questions, {100 * first['chance']:.1f} % by chance"]
    lines.append(f"{'backend':<20}" + "".join(f"{_LABELS[name]:>18}" for name in columns))
    for values in results:
        cells = "".join(f"{values[name]:>18.4f}" for name in columns)
        lines.append(f"{values['backend']:<20}{cells}")
    for values in differences:
        cells = "".join(
            f"{values[name]:>+18.4f}" if name in values else " " * 18 for name in columns
        )
        lines.append(f"{values['backend'] + ' - ' + values['less']:<20}{cells}".rstrip())
    return lines


def _check(options: argparse.Namespace, tokenizer: Tokenizer) -> list[Question]:
    """The questions of --choices; InputError if a model of this tokenizer cannot be asked so."""
    own = tasks_of(tokenizer)
    if own and (options.data is not None or options.choices is not None or options.words):
        raise InputError(f"{options.model}: a model for {tokenizer.kind}: use --task")
    if options.choices is not None:
        if options.digits is not None or options.words:
            raise InputError("--digits and --words do not belong to --choices")
        return read_questions(options.choices, options.examples)
    if options.task is None and not own and (options.digits, options.examples) != (None, None):
        raise InputError(
            f"{options.model}: a model for text: --digits and --examples belong to --task"
        )
    if options.task is not None or own:
        check_task(
            tokenizer,
            options.task if options.task is not None else own[0],
            digits=options.digits,
            examples=options.examples,
            seed=options.seed,
        )
    elif options.data is not None and not is_shards(options.data):
        text = Text.of([options.data])
        if text.is_one and not options.data.is_dir():
            read_text(*text.files)
    return []


def _evaluate(
    options: argparse.Namespace, backend: Backend, questions: list[Question]
) -> tuple[dict[str, Any], str]:
    own = tasks_of(backend.tokenizer)
    if questions:
        return _answer(options.choices, backend, questions)
    if options.task is not None or own:
        name = options.task if options.task is not None else own[0]
        result = evaluate_task(
            backend, name, digits=options.digits, examples=options.examples, seed=options.seed
        )
        values = {"backend": result.backend, "task": name, "digits": result.digits}
        values |= {"accuracy": result.accuracy, "examples": result.examples}
        return values, f"{describe_task(result)} ({backend.name})"
    score = score_text(backend, options.data, words=options.words, **_reading(options))
    return _known(score), f"{describe_text(score)} ({backend.name})"


def _reading(options: argparse.Namespace) -> dict[str, Any]:
    """How text is read: the field of records; and the run that knows what it held out.

    A tape does not know what it was trained on.
    """
    return {"field": options.field or DEFAULT_FIELD, "run": training_of(options.model)}


def _answer(file: Path, backend: Backend, questions: list[Question]) -> tuple[dict[str, Any], str]:
    result = evaluate_choices(backend, questions)
    line = (
        f"{file.name}: {result.examples:,} questions, {100 * result.accuracy:.1f} +-"
        f" {100 * result.accuracy_error:.1f} % right, {100 * result.accuracy_by_byte:.1f} +-"
        f" {100 * result.accuracy_by_byte_error:.1f} % by likelihood per byte,"
        f" {100 * result.chance:.1f} % by chance"
    )
    return asdict(result), f"{line} ({backend.name})"


def _known(score: TextResult) -> dict[str, Any]:
    """The scores that were asked for."""
    return {name: value for name, value in asdict(score).items() if value is not None}


def describe_text(score: TextResult) -> str:
    """One line."""
    line = f"{score.bits_per_byte:.4f} bits per byte on {score.bytes:,} bytes"
    if score.tokens != score.bytes:
        line += f", perplexity {score.token_perplexity:.2f} per token ({score.tokens:,})"
    if score.word_perplexity is not None:
        line += f", {score.word_perplexity:,.2f} per word ({score.words:,})"
    return line


def describe_task(result: TaskResult) -> str:
    """One line."""
    unit = TASKS[result.task].unit
    length = f", {result.digits} {unit}" if unit is not None else ""
    return f"{result.task}{length}: {result.exact} of {result.examples} exact"
