"""``mmfree train``: a model into a checkpoint folder, and how it does on what was held out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmfree import api
from mmfree.cli.evaluate import describe_task
from mmfree.cli.options import TOKENIZERS, add_out
from mmfree.cli.outcome import Outcome
from mmfree.contract.pow2 import GATES
from mmfree.files.atomic import write_atomically
from mmfree.inference.backends import load_backend
from mmfree.inference.scoring import evaluate_task, evaluate_tokens
from mmfree.tasks.catalog import TASKS, tasks_of
from mmfree.text.corpus import Corpus
from mmfree.training.presets import PRESETS

SUMMARY = "train a model into a checkpoint folder"

EXAMPLES_AFTER_TRAINING = 200
"""Examples of each task that score a trained model."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "config", metavar="PRESET|CONFIG.json", help=f"{', '.join(PRESETS)}, or a file"
    )
    parser.add_argument(
        "--gate", choices=GATES, help="forget gate of a preset; None: the preset's own"
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="text, as for tokenize, or a folder of shards; None: Python's documentation",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        help=f"{TOKENIZERS}; None: that of the shards or of the config, else bytes",
    )
    parser.add_argument(
        "--field", metavar="NAME", help="of a record, that holds its text; None: text"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="steps to train; None: the recipe's")
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="plan the run for this time in minutes; None: all steps",
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
        seed=options.seed,
        minutes=options.minutes,
        steps=options.steps,
        resume=options.resume,
        extend=options.extend,
        force=options.force,
        tensorboard=options.tensorboard,
        shard=options.shard,
    )
    if not result.main:
        return Outcome({}, "")
    _draw_loss(options.out)
    score, text = _score(options.out, result.corpus)
    values = {
        "checkpoint": str(options.out),
        **score,
        "tokens_per_second": result.tokens_per_second,
        "steps": result.step,
        "loss": result.loss,
        "held_bytes": result.held_bytes,
    }
    speed = f"{result.tokens_per_second:,.0f} tokens/s"
    return Outcome(values, f"{options.out}: {result.step} steps, {speed}; {text}")


def _draw_loss(folder: Path) -> None:
    """The curve of the loss, beside the numbers."""
    from mmfree.report.figures import training_curve
    from mmfree.training.metrics import CURVE_NAME, METRICS_NAME, read_rows

    write_atomically(folder / CURVE_NAME, training_curve(read_rows(folder / METRICS_NAME)).encode())


def _score(folder: Path, corpus: Corpus | None) -> tuple[dict[str, Any], str]:
    """How a fresh checkpoint does on what it was not trained on, in the contract's arithmetic."""
    from mmfree.training.checkpoint import load_config

    if load_config(folder).architecture != "matmul-free":
        return {}, "not scored: the baseline is compared, not played"
    golden = load_backend(folder, "golden")
    if tasks := tasks_of(golden.tokenizer):
        results = [
            evaluate_task(
                golden, name, examples=EXAMPLES_AFTER_TRAINING if TASKS[name].examples else None
            )
            for name in tasks
        ]
        accuracy = sum(r.exact for r in results) / sum(r.examples for r in results)
        return {"accuracy": accuracy}, "; ".join(describe_task(result) for result in results)
    assert corpus is not None, "a model of text has learned from one"
    text = evaluate_tokens(golden, corpus.validation, corpus.validation_bytes)
    return (
        {"bits_per_byte": text.bits_per_byte},
        f"{text.bits_per_byte:.4f} bits per byte on {text.bytes:,} held-out bytes",
    )
