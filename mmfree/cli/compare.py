"""``mmfree compare``: a MatMul-free model and a Transformer++, of the same sizes or of others, on
the same text.

Every run is a checkpoint folder of its own under --out, so an interrupted comparison goes on where
it stood.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfree.cli.options import add_out
from mmfree.cli.outcome import Outcome
from mmfree.cli.values import above_zero, whole
from mmfree.errors import InputError
from mmfree.files.atomic import refuse_to_overwrite, write_atomically
from mmfree.files.claim import claimed
from mmfree.text.corpus import Text
from mmfree.text.sources import is_shards
from mmfree.training.folder import check_teacher
from mmfree.training.presets import run_config

if TYPE_CHECKING:
    from mmfree.comparison.contest import Comparison, Trained

EXAMPLES = (
    "mmfree compare text --out runs/compared",
    "mmfree compare text --data shards --rates 3e-3 6e-3 --seeds 1 --out runs/compared",
)

COMPARISON_NAME, CURVES_NAME = "compare.json", "compare.svg"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("config", metavar="PRESET|CONFIG.json", help="text, or a file of task text")
    parser.add_argument("--data", type=Path, nargs="+", metavar="PATH", help="as of train")
    parser.add_argument("--field", metavar="NAME", help="as of train")
    parser.add_argument("--tokenizer", metavar="NAME", help="as of train")
    parser.add_argument(
        "--rates",
        type=above_zero(),
        nargs="+",
        metavar="R",
        help="learning rates to try (default: four)",
    )
    parser.add_argument(
        "--baseline-rates",
        type=above_zero(),
        nargs="+",
        metavar="R",
        help="the Transformer's (default: four)",
    )
    parser.add_argument(
        "--baseline",
        metavar="PRESET|CONFIG.json",
        help="whose model's sizes the Transformer has (default: the same), with the same recipe",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="RUN", help="as of train; every run learns from it"
    )
    parser.add_argument(
        "--seeds", type=whole(1), default=3, metavar="N", help="runs at the best rate"
    )
    add_out(parser, "folder for all runs; finished runs there are reused")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    with claimed(options.out):
        for name in (COMPARISON_NAME, CURVES_NAME):
            refuse_to_overwrite(options.out / name, options.force)
        return _compare(options)


def _compare(options: argparse.Namespace) -> Outcome:
    config = run_config(
        options.config, tokenizer=options.tokenizer, data=options.data, field=options.field
    )
    if config.recipe.task != "text":
        raise InputError(
            f"{options.config}: a comparison is made on text; task {config.recipe.task} is none"
        )
    baseline = None
    if options.baseline is not None:
        baseline = run_config(
            options.baseline, tokenizer=options.tokenizer, data=options.data, field=options.field
        )
        try:
            replace(config, architecture="transformer", model=baseline.model)
        except InputError as error:
            raise InputError(f"{options.baseline}: {error}") from None
    if options.data and not any(map(is_shards, options.data)):
        Text.of(options.data)
    check_teacher(config, options.out, options.teacher)
    # Not before all is checked that can be without torch.
    from mmfree.comparison.contest import RATES, compare

    found = compare(
        config,
        options.out,
        data=options.data,
        field=options.field,
        baseline=None if baseline is None else baseline.model,
        teacher=options.teacher,
        rates={
            "matmul-free": options.rates or RATES["matmul-free"],
            "transformer": options.baseline_rates or RATES["transformer"],
        },
        seeds=options.seeds,
        seed=options.seed,
    )
    values = {
        "label": "measured",
        "data": found.data,
        "length": found.length,
        "tokens": found.tokens,
        "bytes": found.bytes,
        "teacher": None if options.teacher is None else str(options.teacher),
        "runs": [asdict(run) for run in found.runs],
        "best": found.best,
    }
    curves = _curves(found.runs, found.best, config.recipe.batch_size * config.recipe.length)
    write_atomically(options.out / CURVES_NAME, curves.encode())
    write_atomically(options.out / COMPARISON_NAME, (json.dumps(values, indent=1) + "\n").encode())
    text = _describe(found)
    return Outcome(values, f"{text}\n{options.out / CURVES_NAME}")


def _describe(found: Comparison) -> str:
    best = found.best
    lines = [f"{'architecture':<14}{'learning rate':>14}{'seed':>6}{'bits per byte':>15}"]
    lines += [
        f"{run.architecture:<14}{run.learning_rate:>14g}{run.seed:>6}{run.bits_per_byte:>15.4f}"
        for run in found.runs
    ]
    lines.append("")
    for name, values in best.items():
        edge = (
            "; the best rate is the outermost one tried: try more" if values["at_the_edge"] else ""
        )
        span = f"{values['lowest']:.4f} to {values['highest']:.4f}, {values['seeds']} seeds"
        lines.append(
            f"{name}: {values['bits_per_byte']:.4f} bits per byte ({span}) at"
            f" {values['learning_rate']:g}, {values['parameters']:,} parameters in"
            f" {values['weight_bytes']:,} bytes, {values['tokens_per_second']:,.0f} tokens/s{edge}"
        )
    difference = best["matmul-free"]["bits_per_byte"] - best["transformer"]["bits_per_byte"]
    return "\n".join(
        [
            *lines,
            (
                f"difference: {difference:+.4f} bits per byte (measured, on {found.bytes:,} bytes"
                f" held out, {found.tokens:,} tokens, in windows of at most {found.length:,})"
            ),
        ]
    )


def _curves(runs: list[Trained], best: dict[str, Any], tokens_per_step: int) -> str:
    """The loss of each architecture's runs at its best rate, over tokens and over time."""
    from mmfree.report.figures import comparison_curves
    from mmfree.training.metrics import METRICS_NAME, read_rows

    lines = []
    for run in runs:
        own = best[run.architecture]
        if run.learning_rate == own["learning_rate"]:
            rows = read_rows(Path(run.folder) / METRICS_NAME)
            lines.append(
                (
                    run.architecture,
                    [(row[0] + 1) * tokens_per_step for row in rows],
                    [row[1] for row in rows],
                    own["tokens_per_second"],
                )
            )
    return comparison_curves(lines)
