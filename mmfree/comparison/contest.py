"""Comparison of a MatMul-free model with a Transformer++ of its size, or one of other sizes, on the
same text.

Each is tuned over learning rates, and its best rate repeated with further seeds. Every run is a
checkpoint folder of its own, so an interrupted comparison goes on where it was.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.comparison.speed import Contestant, race
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.files.atomic import read_json, write_atomically
from mmfree.text.corpus import Corpus
from mmfree.text.loading import load_corpus
from mmfree.text.scores import Score, ScoredText
from mmfree.text.sources import DEFAULT_FIELD
from mmfree.text.tokenizer import text_tokenizer
from mmfree.training.checkpoint import (
    build_model,
    load_config,
    load_training_state,
    load_weights,
)
from mmfree.training.folder import MAX_SEED, check_teacher
from mmfree.training.recipe import ARCHITECTURES, CONFIG_NAME, TRAINING_NAME, RunConfig
from mmfree.training.train import train

RATES = {"matmul-free": (2e-3, 4e-3, 8e-3, 1.6e-2), "transformer": (3e-4, 6e-4, 1.2e-3, 2.4e-3)}
"""Learning rates that are tried, by architecture: ternary weights want about ten times a
Transformer's.
"""

TIMED_STEPS = 10
"""Steps of each architecture, taking turns, of which the fastest gives its speed."""

_RESULT_NAME = "result.json"
_TOKENS_AT_ONCE = 2048
"""Tokens that are scored at a time, to save memory: whole windows, at least one."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run, with its bits per byte on all ``bytes`` of text held out, by ``tokens``."""

    architecture: str
    learning_rate: float
    seed: int
    folder: str
    bits_per_byte: float
    tokens: int
    bytes: int
    parameters: int


class Best(TypedDict):
    """What docs/training.md reports of an architecture's best rate.

    ``bits_per_byte`` is the mean over ``seeds`` runs, between ``lowest`` and ``highest``;
    ``at_the_edge``: no rate was tried beyond the best one. ``weight_bytes``: ternary weights five
    to a byte, all other parameters in int8, in which a Transformer is taken to lose nothing.
    """

    learning_rate: float
    at_the_edge: bool
    bits_per_byte: float
    lowest: float
    highest: float
    seeds: int
    parameters: int
    weight_bytes: int
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All runs on the text ``data``, and the best of each architecture, by its name.

    ``tokens``, ``bytes``: of the text held out, which scores every run, in windows of at most
    ``length`` tokens.
    """

    data: str
    length: int
    tokens: int
    bytes: int
    runs: list[Trained]
    best: dict[str, Best]


def compare(
    config: RunConfig,
    out: Path,
    *,
    data: list[Path] | None,
    field: str | None = None,
    baseline: ModelConfig | None = None,
    teacher: Path | None = None,
    rates: dict[str, Sequence[float]],
    seeds: int,
    seed: int,
) -> Comparison:
    """Train each architecture at each of its rates, and its best rate with further seeds.

    Parameters
    ----------
    config
        Of the MatMul-free model; the Transformer has its recipe, and its sizes if ``baseline`` says
        no others.
    out
        Folder of the runs; those that are finished there are not trained again.
    data, field
        As ``train`` takes them.
    baseline
        Sizes of the Transformer; None: the MatMul-free model's.
    teacher
        Checkpoint that every run learns from besides, as ``train`` takes it.
    rates
        Architecture -> learning rates to try.
    seeds, seed
        Runs at the best rate, and the first one's seed.

    Raises
    ------
    InputError
        If the task is not text, a number is out of range, a rate is given twice, the tokenizer does
        not fit the Transformer, or the teacher cannot teach.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    if not 0 <= seed <= MAX_SEED - seeds:
        raise InputError(f"--seed must be in 0..{MAX_SEED - seeds}, got {seed}")
    for name, asked in rates.items():
        if len({_shown_rate(rate) for rate in asked}) < len(asked):
            shown = " ".join(map(_shown_rate, asked))
            raise InputError(f"a rate of {name} is given twice: {shown}")
    configs = {
        "matmul-free": replace(config, architecture="matmul-free"),
        "transformer": replace(config, architecture="transformer", model=baseline or config.model),
    }
    for architecture, own in configs.items():
        for rate in rates[architecture]:
            # Refuses what cannot be trained before anything is.
            check_teacher(_at_rate(own, rate), out, teacher)
    tokenizer = text_tokenizer(config.tokenizer)
    corpus = load_corpus(
        data or [], tokenizer, minimum=config.recipe.length, field=field or DEFAULT_FIELD
    )
    text = held_out_text(config, corpus)
    shared = _Shared(configs=configs, data=data, field=field, teacher=teacher, text=text, out=out)
    runs: list[Trained] = []
    for architecture in ARCHITECTURES:
        tuned = [_run(shared, architecture, rate, seed) for rate in rates[architecture]]
        best = min(tuned, key=lambda run: run.bits_per_byte)
        further = range(seed + 1, seed + seeds)
        runs += tuned + [_run(shared, architecture, best.learning_rate, n) for n in further]
    best_of = {
        architecture: _best(
            [run for run in runs if run.architecture == architecture], configs[architecture], speed
        )
        for architecture, speed in _speeds(configs).items()
    }
    return Comparison(
        data=corpus.name,
        length=config.recipe.length,
        tokens=text.tokens,
        bytes=text.bytes,
        runs=runs,
        best=best_of,
    )


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """What every run of a comparison shares; ``configs`` by architecture."""

    configs: dict[str, RunConfig]
    data: list[Path] | None
    field: str | None
    teacher: Path | None
    text: ScoredText
    out: Path


def _run(shared: _Shared, architecture: str, rate: float, seed: int) -> Trained:
    """Train and score a model, or take what an earlier call left of it."""
    own = _at_rate(shared.configs[architecture], rate)
    folder = shared.out / f"{_name(shared.configs, architecture)}-{_shown_rate(rate)}-seed{seed}"
    print(f"{folder.name} ...", file=sys.stderr)
    begun = (folder / CONFIG_NAME).is_file()
    if begun and load_config(folder) != own:
        raise InputError(
            f"{folder}: a run of another config; give another --out (--force replaces the"
            " comparison's own files, never a run)"
        )
    # Also if it is finished: then no step is left, and a run on another text is refused.
    train(
        own,
        folder,
        data=shared.data,
        field=shared.field,
        teacher=shared.teacher,
        seed=seed,
        resume=begun,
    )
    if (folder / _RESULT_NAME).is_file():
        return _read_result(folder / _RESULT_NAME, shared.text)
    model = build_model(own)
    load_weights(folder / TRAINING_NAME, load_training_state(folder).weights, model)
    score = score_model(model, shared.text)
    found = Trained(
        architecture=architecture,
        learning_rate=rate,
        seed=seed,
        folder=str(folder),
        bits_per_byte=score.bits_per_byte,
        tokens=score.tokens,
        bytes=score.bytes,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    write_atomically(folder / _RESULT_NAME, json.dumps(asdict(found)).encode())
    return found


def _at_rate(config: RunConfig, rate: float) -> RunConfig:
    return replace(config, recipe=replace(config.recipe, learning_rate=rate))


def _name(configs: dict[str, RunConfig], architecture: str) -> str:
    """What the folders of an architecture's runs begin with; Transformers of several sizes may
    stand beside the same MatMul-free runs.
    """
    own = configs[architecture].model
    if own == configs["matmul-free"].model:
        return architecture
    return f"{architecture}-{own.hidden_size}x{own.num_layers}x{own.intermediate_size}"


def _shown_rate(rate: float) -> str:
    """A learning rate as the name of a run's folder has it."""
    return f"{rate:g}"


def _read_result(path: Path, text: ScoredText) -> Trained:
    data: Any = read_json(path)
    kinds: dict[str, tuple[type, ...]] = {
        "learning_rate": (int, float),
        "bits_per_byte": (int, float),
        "seed": (int,),
        "tokens": (int,),
        "bytes": (int,),
        "parameters": (int,),
    }
    names = {field.name for field in fields(Trained)}
    if (
        not isinstance(data, dict)
        or data.keys() != names
        or any(type(value) not in kinds.get(name, (str,)) for name, value in data.items())
    ):
        raise InputError(
            f"{path}: must be the result of a run, with the fields {', '.join(sorted(names))};"
            " remove the file, and the run is scored again"
        )
    found = Trained(**data)
    if (found.tokens, found.bytes) != (text.tokens, text.bytes):
        raise InputError(
            f"{path}: {found.tokens:,} tokens of {found.bytes:,} bytes were scored, but"
            f" {text.tokens:,} of {text.bytes:,} are held out; remove the file, and the run is"
            " scored again"
        )
    return found


def held_out_text(config: RunConfig, corpus: Corpus) -> ScoredText:
    """All that a corpus holds out, in windows of the training length.

    A Transformer has learned no other positions; ``mmfree evaluate`` scores the same tokens of the
    same bytes, in longer pieces.
    """
    start, length = text_tokenizer(config.tokenizer).start, config.recipe.length
    return ScoredText.as_windows(*corpus.all_held_out(), start=start, length=length)


def score_model(model: torch.nn.Module, text: ScoredText) -> Score:
    """The score of a model: of a MatMul-free one in the chip's arithmetic."""
    ids = text.batch.ids
    rows = max(1, _TOKENS_AT_ONCE // ids.shape[1])

    def parts() -> Iterator[tuple[slice, NDArray[np.float32]]]:
        for first in tqdm(range(0, len(ids), rows), unit="batch", disable=None, leave=False):
            part = slice(first, first + rows)
            with torch.no_grad():
                logits, _ = model(torch.from_numpy(ids[part]), mode="fakequant")
            yield part, logits.numpy()

    return text.score(parts())


def _speeds(configs: dict[str, RunConfig]) -> dict[str, float]:
    """Training tokens per second of each architecture, whose steps take turns, on random tokens."""
    config = configs["matmul-free"]
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
            build_model(own).to(device),
            ids,
            targets,
            bf16=recipe.precision == "bf16",
            compiled=recipe.compile,
            parts=recipe.accumulate,
        )
        for architecture, own in configs.items()
    }
    race(list(contestants.values()), TIMED_STEPS)
    return {
        architecture: contestant.tokens_per_second
        for architecture, contestant in contestants.items()
    }


def _weight_bytes(config: RunConfig, parameters: int) -> int:
    if config.architecture == "transformer":
        return parameters
    ternary = config.model.num_ternary_weights
    return parameters - ternary + -(-ternary // 5)


def _best(runs: list[Trained], config: RunConfig, tokens_per_second: float) -> Best:
    """The best rate of the runs of one architecture."""
    rate = min(runs, key=lambda run: run.bits_per_byte).learning_rate
    bits = [run.bits_per_byte for run in runs if run.learning_rate == rate]
    rates = sorted({run.learning_rate for run in runs})
    return Best(
        learning_rate=rate,
        at_the_edge=len(rates) > 1 and rate in (rates[0], rates[-1]),
        bits_per_byte=statistics.fmean(bits),
        lowest=min(bits),
        highest=max(bits),
        seeds=len(bits),
        parameters=runs[0].parameters,
        weight_bytes=_weight_bytes(config, runs[0].parameters),
        tokens_per_second=tokens_per_second,
    )
