"""What a training run is: a model, a task and a recipe, as JSON and checked."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError, not_one_of
from mmfree.files.objects import checked_fields
from mmfree.text.task_tokenizers import AdditionTokenizer, ModularTokenizer, ParityTokenizer
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer, Tokenizer
from mmfree.text.tokenizers import load_tokenizer, tokenizer_from_dict

RUN_TASKS: dict[str, Callable[[], Tokenizer]] = {
    "addition": AdditionTokenizer,
    "text": ByteTokenizer,
    "parity": ParityTokenizer,
    "modular-addition": ModularTokenizer,
}
"""Tasks that can be trained, and their tokenizers."""

CONFIG_NAME, TOKENIZER_NAME, TRAINING_NAME = (
    "config.json",
    "tokenizer.json",
    "training.safetensors",
)
"""Files of a checkpoint: the run's config, its tokenizer, and what resumption needs."""

PRECISIONS = ("fp32", "bf16")

ARCHITECTURES = ("matmul-free", "transformer")
"""Models that can be trained. A transformer is the baseline (mmfree/models/transformer.py), and
cannot be exported.
"""

SHORTEST_MEMORY, LONGEST_MEMORY = 2, 4096
"""Limits of ``Recipe.longest_memory``, in tokens; at the shortest a hard gate's bias is 0."""

MAX_RATE = 1e3
"""Largest learning rate: weights have a standard deviation near 1 / sqrt(fan-in)."""

MAX_STEPS, MAX_COUNT, MAX_TOKENS = 10**12, 1 << 24, 1 << 28
"""Most steps; largest batch size, length and number of parts; most tokens of a batch."""


def _linear(done: float) -> float:
    return 1 - done


def _two_phases(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done)) * (1.0 if done < 0.5 else 0.5)


SCHEDULES: dict[str, Callable[[float], float]] = {"linear": _linear, "two-phase": _two_phases}
"""Factor of the learning rate against the share of the steps that are done.

"two-phase" is a cosine that is halved midway, as the published models were trained (arXiv
2406.02528).
"""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train, by AdamW.

    Parameters
    ----------
    task
        Of RUN_TASKS.
    steps, batch_size
        Steps of the optimizer, and sequences that each of them takes.
    length
        Most columns of a sum, most bits, or tokens of a text window; modular addition has one
        length.
    learning_rate, warmup_steps, schedule
        The rate rises to ``learning_rate`` over ``warmup_steps``, and falls to 0 at ``steps`` as
        ``schedule`` says, of SCHEDULES.
    weight_decay
        AdamW's.
    clip
        Largest norm of the gradient.
    precision
        "fp32", or "bf16": the products of a MatMul-free model's backward pass, and of both passes
        of a Transformer, are in bfloat16.
    accumulate
        Parts that a batch is cut into, one after another, to save memory.
    compile
        Whether torch.compile is used.
    hold
        Pull on outputs of projections beyond the limits of their width, towards them: nats per
        token and unit. 0: they have no gradient at all.
    longest_memory
        Tokens after which the slowest channels of a state have forgotten all but 1/e, when training
        begins (``MatMulFreeLM.spread_memory``). 0: all biases of the forget gates begin at 0.
    embedding_rate
        How many times the learning rate the embedding of a MatMul-free model has.
    teacher_share
        Of the loss, that a teacher's probabilities have, if there is one; the text has the rest.

    Raises
    ------
    InputError
        If a field is out of range.
    """

    task: str
    steps: int
    batch_size: int
    length: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup_steps: int = 20
    clip: float = 1.0
    schedule: str = "linear"
    precision: str = "fp32"
    accumulate: int = 1
    compile: bool = False
    hold: float = 0.0
    longest_memory: float = 0.0
    embedding_rate: float = 1.0
    teacher_share: float = 0.5

    def __post_init__(self) -> None:
        for name, known in (
            ("task", RUN_TASKS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in known:
                raise not_one_of(f"recipe: {name}", getattr(self, name), known)
        if type(self.compile) is not bool:
            raise InputError(f"recipe: compile must be true or false, got {self.compile!r}")
        for name, most in (
            ("steps", MAX_STEPS),
            ("warmup_steps", MAX_STEPS),
            ("batch_size", MAX_COUNT),
            ("length", MAX_COUNT),
            ("accumulate", MAX_COUNT),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"recipe: {name} must be a positive integer, got {value!r}")
            if value > most:
                raise InputError(f"recipe: {name} must be at most {most}, got {value}")
        if (tokens := self.batch_size * self.length) > MAX_TOKENS:
            raise InputError(
                f"recipe: batch_size * length must be at most {MAX_TOKENS}, got {tokens}"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        """InputError if a field that need not be whole is out of range."""
        positive = ("learning_rate", "embedding_rate", "clip", "teacher_share")
        for name in (*positive, "weight_decay", "hold"):
            value = getattr(self, name)
            low = 1e-12 if name in positive else 0
            if (
                not isinstance(value, int | float)
                or isinstance(value, bool)
                or not low <= value <= sys.float_info.max
            ):
                raise InputError(f"recipe: {name} must be a positive number, got {value!r}")
        memory = self.longest_memory
        if (
            not isinstance(memory, int | float)
            or isinstance(memory, bool)
            or not (memory == 0 or SHORTEST_MEMORY <= memory <= LONGEST_MEMORY)
        ):
            raise InputError(
                f"recipe: longest_memory must be 0, or in {SHORTEST_MEMORY}..{LONGEST_MEMORY}"
                f" tokens, got {memory!r}"
            )
        if self.teacher_share > 1:
            raise InputError(f"recipe: teacher_share must be at most 1, got {self.teacher_share!r}")
        # A step of this size overflows float32 within a few steps.
        for name, rate in (
            ("learning_rate", self.learning_rate),
            ("learning_rate * embedding_rate", self.learning_rate * self.embedding_rate),
        ):
            if rate > MAX_RATE:
                raise InputError(f"recipe: {name} must be at most {MAX_RATE:g}, got {rate!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order, without what older files lack where it is not used."""
        defaults = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _CAME_LATER or value != defaults[name]
        }


_CAME_LATER = ("hold", "longest_memory", "embedding_rate", "teacher_share")
"""Fields of a Recipe that older files lack; each has the default that changes nothing."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A model and a recipe that fit together.

    Parameters
    ----------
    model, recipe
        Shape, and how to train it.
    subword
        Description (``to_dict``) of the tokenizer of a text model; None: the task's own. As JSON it
        is a file's name, relative to the config's folder, and the description's sha256:
        {"tokenizer": {"file": "tokenizer.json", "sha256": ...}}. A config may name any file that
        ``mmfree.text.tokenizers.load_tokenizer`` reads, without sha256.
    architecture
        Of ARCHITECTURES; left out of the JSON if it is the first.

    Raises
    ------
    InputError
        If the parts do not fit together.
    """

    model: ModelConfig
    recipe: Recipe
    subword: dict[str, Any] | None = None
    architecture: str = "matmul-free"

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, str) or self.architecture not in ARCHITECTURES:
            raise not_one_of("config: architecture", self.architecture, ARCHITECTURES)
        if self.architecture == "transformer" and self.model.hidden_size % 2:
            raise InputError(
                "config: hidden_size of a transformer must be even, for rotary positions, got"
                f" {self.model.hidden_size}"
            )
        if self.subword is not None and self.recipe.task != "text":
            raise InputError(
                f"config: task {self.recipe.task} has a tokenizer of its own; leave tokenizer out"
            )
        tokens, rows = self.tokenizer.vocab_size, self.tokenizer.head_size
        if (self.model.vocab_size, self.model.head_size) != (tokens, rows):
            what = f"task {self.recipe.task}" if self.subword is None else "the tokenizer"
            remedy = (
                "; change them, or name another tokenizer" if self.recipe.task == "text" else ""
            )
            raise InputError(
                f"config: {what} needs vocab_size {tokens} and head_size {rows}, "
                f"got {self.model.vocab_size} and {self.model.head_size}{remedy}"
            )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return (
            RUN_TASKS[self.recipe.task]()
            if self.subword is None
            else tokenizer_from_dict(self.subword)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        data: dict[str, Any] = {"model": self.model.to_dict(), "recipe": self.recipe.to_dict()}
        if self.subword is not None:
            data["tokenizer"] = {"file": TOKENIZER_NAME, "sha256": _sha256(self.subword)}
        if self.architecture != "matmul-free":
            data["architecture"] = self.architecture
        return data

    @classmethod
    def from_dict(
        cls, data: Any, source: str = "config", *, tokenizer: TextTokenizer | None = None
    ) -> RunConfig:
        """The run that a JSON object describes.

        Parameters
        ----------
        data
            An object with "model", "recipe" and perhaps "tokenizer" and "architecture".
        source
            The file that it comes from: the tokenizer's file is beside it, and errors name it.
        tokenizer
            Taken in place of the one that ``data`` names.

        Raises
        ------
        InputError
            If a field is unknown, missing or out of range; the message names ``source`` and field.
        """
        if not isinstance(data, dict) or set(data) - {"tokenizer", "architecture"} != {
            "model",
            "recipe",
        }:
            raise InputError(f'{source}: expected a JSON object with "model" and "recipe"')
        model = ModelConfig.from_dict(data["model"], source)
        values = checked_fields(data["recipe"], Recipe, f"{source}: recipe")
        if tokenizer is not None:
            subword = subword_description(tokenizer)
        else:
            subword = _read_subword(data["tokenizer"], source) if "tokenizer" in data else None
        try:
            architecture = data.get("architecture", "matmul-free")
            return cls(
                model=model, recipe=Recipe(**values), subword=subword, architecture=architecture
            )
        except InputError as error:
            raise InputError(f"{source}: {error}") from None


def _sha256(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def subword_description(tokenizer: TextTokenizer) -> dict[str, Any] | None:
    """``RunConfig.subword`` of a tokenizer: None for bytes, which text models read by default."""
    return None if tokenizer.kind == ByteTokenizer.kind else tokenizer.to_dict()


def _read_subword(entry: Any, source: str) -> dict[str, Any] | None:
    """``RunConfig.subword`` of the tokenizer that a config names."""
    if isinstance(entry, str):
        entry = {"file": entry}
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("file"), str)
        or set(entry) - {"file", "sha256"}
    ):
        raise InputError(
            f'{source}: tokenizer must be a file name, or {{"file": ..., "sha256": ...}}'
        )
    path = Path(source).parent / entry["file"]
    tokenizer = load_tokenizer(str(path))
    if entry.get("sha256", found := _sha256(tokenizer.to_dict())) != found:
        raise InputError(f"{path}: not the tokenizer of {source}: its sha256 differs")
    return subword_description(tokenizer)
