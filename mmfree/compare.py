"""``mmfree compare``: a MatMul-free model and a Transformer++ of the same size, on the same text, each at its best learning rate, with seeds.

Every run is a checkpoint folder of its own under --out, so an interrupted comparison goes on where it stood.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mmfree.checkpoint import (
    CONFIG_NAME,
    METRICS_NAME,
    build_model,
    load_config,
    load_training_state,
)
from mmfree.config import read_json
from mmfree.corpora import run_config
from mmfree.data import Corpus, load_corpus, training_windows
from mmfree.files import refuse_to_overwrite, write_atomically
from mmfree.outcome import Outcome
from mmfree.recipe import ARCHITECTURES, RunConfig
from mmfree.throughput import Contestant, race
from mmfree.tokenizer import text_tokenizer
from mmfree.train import read_rows, train

RATES = {"matmul-free": (2e-3, 4e-3, 8e-3, 1.6e-2), "transformer": (3e-4, 6e-4, 1.2e-3, 2.4e-3)}
"""Learning rates that are tried, by architecture: ternary weights want about ten times a Transformer's."""

WINDOWS = 256
"""Held-out windows, as long as those of training, that score a model: the same for all."""

COMPARISON_NAME, CURVES_NAME, _RESULT_NAME = "compare.json", "compare.svg", "result.json"
_ROWS_AT_ONCE = 16

TIMED_STEPS = 10
"""Steps of each architecture, in turns, that its speed is taken from."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run, with its bits per byte on the held-out windows."""

    architecture: str
    learning_rate: float
    seed: int
    folder: str
    bits_per_byte: float
    parameters: int


def compare(options: argparse.Namespace) -> Outcome:
    """The verb."""
    refuse_to_overwrite(options.out / COMPARISON_NAME, options.force)
    if options.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {options.seeds}")
    if options.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {options.seed}")
    rates = {"matmul-free": options.rates or RATES["matmul-free"], "transformer": options.baseline_rates or RATES["transformer"]}
    for name, asked in rates.items():
        if len({_shown(rate) for rate in asked}) < len(asked):
            raise ValueError(f"a rate of {name} is given twice: {' '.join(map(_shown, asked))}")
    options.gate, options.resume = None, False
    config = run_config(options)
    if config.recipe.task != "text":
        raise ValueError(f"{options.config}: a comparison is made on text; task {config.recipe.task} is none")
    for architecture in ARCHITECTURES:
        for rate in rates[architecture]:
            _own(config, architecture, rate)  # refuses what cannot be trained before anything is
    corpus = load_corpus(options.data or [], text_tokenizer(config.tokenizer), minimum=config.recipe.length)
    runs: list[Trained] = []
    for architecture in ARCHITECTURES:
        tuned = [_run(config, corpus, architecture, rate, options.seed, options) for rate in rates[architecture]]
        best = min(tuned, key=lambda run: run.bits_per_byte)
        seeds = range(options.seed + 1, options.seed + options.seeds)
        runs += tuned + [_run(config, corpus, architecture, best.learning_rate, seed, options) for seed in seeds]
    best_of = _best(runs)
    for architecture, speed in _speeds(config).items():
        best_of[architecture]["tokens_per_second"] = speed
    values = {"label": "measured", "data": corpus.name, "windows": WINDOWS, "runs": [asdict(run) for run in runs], "best": best_of}
    tokens = config.recipe.batch_size * config.recipe.length
    write_atomically(options.out / CURVES_NAME, _curves(runs, best_of, tokens).encode())
    write_atomically(options.out / COMPARISON_NAME, (json.dumps(values, indent=1) + "\n").encode())
    return Outcome(values, _describe(runs, best_of) + f"\n{options.out / CURVES_NAME}")


def _shown(rate: float) -> str:
    return f"{rate:g}"


def _own(config: RunConfig, architecture: str, rate: float) -> RunConfig:
    return replace(config, architecture=architecture, recipe=replace(config.recipe, learning_rate=rate))


def _run(config: RunConfig, corpus: Corpus, architecture: str, rate: float, seed: int, options: argparse.Namespace) -> Trained:
    """Train and score, or take what an earlier call left."""
    own = _own(config, architecture, rate)
    folder = options.out / f"{architecture}-{_shown(rate)}-seed{seed}"
    print(f"{folder.name} ...", file=sys.stderr)
    begun = (folder / CONFIG_NAME).is_file()
    if begun and load_config(folder) != own:
        raise ValueError(f"{folder}: a run of another config; give another --out (--force replaces the comparison's own files, never a run)")
    # Of another text it is refused; what is finished has no steps left.
    train(own, folder, data=options.data, seed=seed, resume=begun)
    if (folder / _RESULT_NAME).is_file():
        return Trained(**read_json(folder / _RESULT_NAME))
    model = build_model(own)
    model.load_state_dict(load_training_state(folder).weights)
    found = Trained(
        architecture=architecture,
        learning_rate=rate,
        seed=seed,
        folder=str(folder),
        bits_per_byte=held_out_bits(model, own, corpus),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    write_atomically(folder / _RESULT_NAME, json.dumps(asdict(found)).encode())
    return found


def held_out_bits(model: torch.nn.Module, config: RunConfig, corpus: Corpus) -> float:
    """Bits per byte on WINDOWS held-out windows: of a MatMul-free model in the chip's arithmetic."""
    start = text_tokenizer(config.tokenizer).start
    batch = training_windows(np.random.default_rng(0), corpus.validation, WINDOWS, config.recipe.length, start=start)
    nats = 0.0
    with torch.no_grad():
        for row in range(0, WINDOWS, _ROWS_AT_ONCE):
            ids, targets = (torch.from_numpy(array[row : row + _ROWS_AT_ONCE]) for array in (batch.ids, batch.targets))
            logits, _ = model(ids, mode="fakequant")
            nats += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
    bytes_per_token = corpus.validation_bytes / len(corpus.validation)
    return nats / math.log(2) / (batch.targets.size * bytes_per_token)


def _speeds(config: RunConfig) -> dict[str, float]:
    """Training tokens per second of each architecture, steps in turns, with random tokens."""
    recipe = config.recipe
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    shape = (max(1, recipe.batch_size // recipe.accumulate), recipe.length)
    ids, targets = (torch.randint(0, config.model.head_size, shape, device=device) for _ in range(2))
    print("speed, steps in turns ...", file=sys.stderr)
    contestants = {
        architecture: Contestant(
            build_model(replace(config, architecture=architecture)).to(device),
            ids,
            targets,
            bf16=recipe.precision == "bf16",
            compiled=recipe.compile,
            parts=recipe.accumulate,
        )
        for architecture in ARCHITECTURES
    }
    race(list(contestants.values()), TIMED_STEPS)
    return {architecture: contestant.tokens_per_second for architecture, contestant in contestants.items()}


def _best(runs: list[Trained]) -> dict[str, Any]:
    """Of each architecture's best rate: mean over seeds, and the range."""
    found: dict[str, Any] = {}
    for architecture in ARCHITECTURES:
        own = [run for run in runs if run.architecture == architecture]
        rate = min(own, key=lambda run: run.bits_per_byte).learning_rate
        bits = [run.bits_per_byte for run in own if run.learning_rate == rate]
        rates = sorted({run.learning_rate for run in own})
        found[architecture] = {
            "learning_rate": rate,
            "at_the_edge": len(rates) > 1 and rate in (rates[0], rates[-1]),
            "bits_per_byte": statistics.fmean(bits),
            "lowest": min(bits),
            "highest": max(bits),
            "seeds": len(bits),
            "parameters": own[0].parameters,
        }
    return found


def _describe(runs: list[Trained], best: dict[str, Any]) -> str:
    lines = [f"{'architecture':<14}{'learning rate':>14}{'seed':>6}{'bits per byte':>15}"]
    lines += [f"{run.architecture:<14}{run.learning_rate:>14g}{run.seed:>6}{run.bits_per_byte:>15.4f}" for run in runs]
    lines.append("")
    for name, values in best.items():
        edge = "; the best rate is the outermost one tried: try more" if values["at_the_edge"] else ""
        span = f"{values['lowest']:.4f} to {values['highest']:.4f}, {values['seeds']} seeds"
        lines.append(f"{name}: {values['bits_per_byte']:.4f} bits per byte ({span}) at {values['learning_rate']:g}, {values['parameters']:,} parameters, {values['tokens_per_second']:,.0f} tokens/s{edge}")
    difference = best["matmul-free"]["bits_per_byte"] - best["transformer"]["bits_per_byte"]
    return "\n".join([*lines, f"difference: {difference:+.4f} bits per byte (measured, held-out windows of the training length)"])


def _curves(runs: list[Trained], best: dict[str, Any], tokens_per_step: int) -> str:
    """The loss of each architecture's runs at its best rate, over tokens and over time."""
    from sim.report_figures import comparison_curves

    lines = []
    for run in runs:
        own = best[run.architecture]
        if run.learning_rate == own["learning_rate"]:
            rows = read_rows(Path(run.folder) / METRICS_NAME)
            lines.append((run.architecture, [(row[0] + 1) * tokens_per_step for row in rows], [row[1] for row in rows], own["tokens_per_second"]))
    return comparison_curves(lines)
