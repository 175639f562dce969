"""``mmfree train``: a model into a checkpoint folder, and how it does on what was held out."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmfree import api
from mmfree.cli.config import add_config
from mmfree.cli.evaluate import describe_task
from mmfree.cli.options import TOKENIZERS, add_out
from mmfree.cli.outcome import Outcome
from mmfree.cli.values import above_zero
from mmfree.errors import InputError, Stopped
from mmfree.files.atomic import write_atomically
from mmfree.inference.backends import load_backend, tape_player
from mmfree.inference.scoring import evaluate_task, evaluate_tokens
from mmfree.tasks.catalog import TASKS, tasks_of
from mmfree.text.corpus import Corpus

EXAMPLES = (
    "mmfree train text --out runs/text",
    "mmfree train text --data stories.txt --minutes 10 --out runs/stories",
    "mmfree train text --width 256 --layers 4 --steps 5000 --out runs/larger",
    "mmfree train text --out runs/text --resume",
)

EXAMPLES_AFTER_TRAINING = 200
"""Examples of each task that score a trained model."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_config(parser)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="text, as for tokenize, or a folder of shards (default: Python's documentation)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        help=f"{TOKENIZERS} (default: that of the shards or of the config, else bytes)",
    )
    parser.add_argument(
        "--field", metavar="NAME", help="of a record, that holds its text (default: text)"
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="also learn what this checkpoint expects, of the same tokenizer (distillation)",
    )
    parser.add_argument(
        "--minutes",
        type=above_zero("min"),
        metavar="M",
        help="plan the run for this time in minutes (default: all steps)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the checkpoint stands")
    parser.add_argument(
        "--continue",
        dest="extend",
        action="store_true",
        help="train a checkpoint further: more steps, or on another text (docs/training.md)",
    )
    parser.add_argument(
        "--shard",
        action="store_true",
        help="spread weights and moments over the processes (of torchrun)",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write events for TensorBoard, in the checkpoint's folder tensorboard",
    )
    add_out(parser, "checkpoint folder")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    result = api.train(
        options.config,
        options.out,
        gate=options.gate,
        tokenizer=options.tokenizer,
        data=options.data,
        field=options.field,
        teacher=options.teacher,
        seed=options.seed,
        minutes=options.minutes,
        steps=options.steps,
        width=options.width,
        layers=options.layers,
        rate=options.rate,
        batch=options.batch,
        length=options.length,
        resume=options.resume,
        extend=options.extend,
        force=options.force,
        tensorboard=options.tensorboard,
        shard=options.shard,
    )
    if not result.main:
        return Outcome({}, "")
    with _saved(options.out):
        _draw_loss(options.out)
        score, text = _score(options.out, result.corpus)
    values = {
        "checkpoint": str(options.out),
        **score,
        "tokens_per_second": result.tokens_per_second,
        "steps": result.step,
        "loss": result.loss,
        "held_bytes": result.held_bytes,
        "best_step": result.best_step,
        "replaced_best": result.replaced_best,
        "at_limit": result.at_limit,
    }
    speed = f"{result.tokens_per_second:,.0f} tokens/s"
    kept = ""
    if result.best_step not in (None, result.step):
        kept = f", the model after step {result.best_step:,} is the best and kept"
    if result.replaced_best is not None:
        kept += (
            f", the earlier best (step {result.replaced_best:,}) was replaced: losses on another"
            " text or window length do not compare"
        )
    if result.at_limit is not None:
        kept += (
            f", {100 * result.at_limit:.1f} % of an intermediate's values lie at its limit in every"
            " model of this run, so export will refuse it: lower --rate, or raise hold in the"
            " config"
        )
    return Outcome(values, f"{options.out}: {result.step:,} steps, {speed}{kept}; {text}")


@contextmanager
def _saved(folder: Path) -> Iterator[None]:
    """Whatever ends the block says that the checkpoint is there: nobody has to train again."""
    interrupted = (
        f"trained and saved: {folder}; interrupted while it was scored: `mmfree evaluate {folder}`"
        " does that"
    )
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(interrupted, signal.SIGINT) from None
    except Stopped as stopped:
        raise Stopped(interrupted, stopped.signal) from None
    except InputError as error:
        raise InputError(f"trained and saved: {folder}; not scored: {error}") from None


def _draw_loss(folder: Path) -> None:
    """The curve of the loss, beside the numbers."""
    from mmfree.report.figures import training_curve
    from mmfree.training.metrics import CURVE_NAME, METRICS_NAME, VALIDATION_NAME, read_rows

    rows, validation = read_rows(folder / METRICS_NAME), read_rows(folder / VALIDATION_NAME)
    write_atomically(folder / CURVE_NAME, training_curve(rows, validation).encode())


def _score(folder: Path, corpus: Corpus | None) -> tuple[dict[str, Any], str]:
    """How a fresh checkpoint does on what it was not trained on, in the contract's arithmetic."""
    from mmfree.training.folder import load_config

    if load_config(folder).architecture != "matmul-free":
        return {}, "not scored: the baseline is compared, not played"
    player = load_backend(folder, tape_player())
    if tasks := tasks_of(player.tokenizer):
        results = [
            evaluate_task(
                player, name, examples=EXAMPLES_AFTER_TRAINING if TASKS[name].examples else None
            )
            for name in tasks
        ]
        accuracy = sum(r.exact for r in results) / sum(r.examples for r in results)
        return {"accuracy": accuracy}, "; ".join(describe_task(result) for result in results)
    assert corpus is not None, "a model of text has learned from one"
    text = evaluate_tokens(player, corpus.validation, corpus.validation_bytes)
    return (
        {"bits_per_byte": text.bits_per_byte},
        f"{text.bits_per_byte:.4f} bits per byte on {text.bytes:,} held-out bytes",
    )
