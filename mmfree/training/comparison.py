"""A MatMul-free model and a Transformer++ of the same size, on the same text, each at its best
learning rate, with seeds.

Every run is a checkpoint folder of its own, so an interrupted comparison goes on where it stood.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mmfree.errors import InputError
from mmfree.files.atomic import read_json, write_atomically
from mmfree.text.corpus import Corpus
from mmfree.text.loading import load_corpus
from mmfree.text.tokenizer import text_tokenizer
from mmfree.text.windows import training_windows
from mmfree.training.checkpoint import (
    CONFIG_NAME,
    build_model,
    load_config,
    load_training_state,
)
from mmfree.training.recipe import ARCHITECTURES, RunConfig
from mmfree.training.throughput import Contestant, race
from mmfree.training.train import train

RATES = {"matmul-free": (2e-3, 4e-3, 8e-3, 1.6e-2), "transformer": (3e-4, 6e-4, 1.2e-3, 2.4e-3)}
"""Learning rates that are tried, by architecture.

Ternary weights want about ten times a Transformer's.
"""


WINDOWS = 256
"""Held-out windows, as long as those of training, that score a model: the same for all."""


_RESULT_NAME = "result.json"


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


def shown_rate(rate: float) -> str:
    """A learning rate, as it stands in the name of a run's folder."""
    return f"{rate:g}"


def _own(config: RunConfig, architecture: str, rate: float) -> RunConfig:
    return replace(
        config, architecture=architecture, recipe=replace(config.recipe, learning_rate=rate)
    )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``runs``, and of each architecture's ``best`` rate what docs/training.md reports."""

    data: str
    runs: list[Trained]
    best: dict[str, dict[str, Any]]


def compare(
    config: RunConfig,
    out: Path,
    *,
    data: list[Path] | None,
    rates: dict[str, Sequence[float]],
    seeds: int,
    seed: int,
) -> Comparison:
    """Train each architecture at each of its rates, and its best rate with further seeds.

    Raises
    ------
    InputError
        If the task is not text, a number is out of range, or a rate is given twice.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    for name, asked in rates.items():
        if len({shown_rate(rate) for rate in asked}) < len(asked):
            raise InputError(f"a rate of {name} is given twice: {' '.join(map(shown_rate, asked))}")
    for architecture in ARCHITECTURES:
        for rate in rates[architecture]:
            _own(config, architecture, rate)  # refuses what cannot be trained before anything is
    tokenizer = text_tokenizer(config.tokenizer)
    corpus = load_corpus(data or [], tokenizer, minimum=config.recipe.length)
    shared = _Comparison(config=config, data=data, corpus=corpus, out=out)
    runs: list[Trained] = []
    for architecture in ARCHITECTURES:
        tuned = [_run(shared, architecture, rate, seed) for rate in rates[architecture]]
        best = min(tuned, key=lambda run: run.bits_per_byte)
        further = range(seed + 1, seed + seeds)
        runs += tuned + [_run(shared, architecture, best.learning_rate, n) for n in further]
    best_of = _best(runs)
    for architecture, speed in _speeds(config).items():
        best_of[architecture]["tokens_per_second"] = speed
    return Comparison(data=corpus.name, runs=runs, best=best_of)


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """What every run of a comparison shares."""

    config: RunConfig
    data: list[Path] | None
    corpus: Corpus
    out: Path


def _run(shared: _Comparison, architecture: str, rate: float, seed: int) -> Trained:
    """Train and score, or take what an earlier call left."""
    own = _own(shared.config, architecture, rate)
    folder = shared.out / f"{architecture}-{shown_rate(rate)}-seed{seed}"
    print(f"{folder.name} ...", file=sys.stderr)
    begun = (folder / CONFIG_NAME).is_file()
    if begun and load_config(folder) != own:
        raise InputError(
            f"{folder}: a run of another config; give another --out (--force replaces the"
            " comparison's own files, never a run)"
        )
    # Of another text it is refused; what is finished has no steps left.
    train(own, folder, data=shared.data, seed=seed, resume=begun)
    if (folder / _RESULT_NAME).is_file():
        return Trained(**read_json(folder / _RESULT_NAME))
    model = build_model(own)
    model.load_state_dict(load_training_state(folder).weights)
    found = Trained(
        architecture=architecture,
        learning_rate=rate,
        seed=seed,
        folder=str(folder),
        bits_per_byte=held_out_bits(model, own, shared.corpus),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    write_atomically(folder / _RESULT_NAME, json.dumps(asdict(found)).encode())
    return found


def held_out_bits(model: torch.nn.Module, config: RunConfig, corpus: Corpus) -> float:
    """Bits per byte on WINDOWS held-out windows.

    Of a MatMul-free model in the chip's arithmetic.
    """
    start = text_tokenizer(config.tokenizer).start
    batch = training_windows(
        np.random.default_rng(0), corpus.validation, WINDOWS, config.recipe.length, start=start
    )
    nats = 0.0
    with torch.no_grad():
        for row in range(0, WINDOWS, _ROWS_AT_ONCE):
            ids, targets = (
                torch.from_numpy(array[row : row + _ROWS_AT_ONCE])
                for array in (batch.ids, batch.targets)
            )
            logits, _ = model(ids, mode="fakequant")
            nats += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
    bytes_per_token = corpus.validation_bytes / len(corpus.validation)
    return nats / math.log(2) / (batch.targets.size * bytes_per_token)


def _speeds(config: RunConfig) -> dict[str, float]:
    """Training tokens per second of each architecture, steps in turns, with random tokens."""
    recipe = config.recipe
    device = (
        torch.accelerator.current_accelerator()
        if torch.accelerator.is_available()
        else torch.device("cpu")
    )
    shape = (max(1, recipe.batch_size // recipe.accumulate), recipe.length)
    ids, targets = (
        torch.randint(0, config.model.head_size, shape, device=device) for _ in range(2)
    )
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
    return {
        architecture: contestant.tokens_per_second
        for architecture, contestant in contestants.items()
    }


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
