"""What a training run is: a model, a task and a recipe; and the presets."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mmfree.config import (
    ModelConfig,
    addition_model,
    modular_model,
    parity_model,
    read_json,
    text_model,
)
from mmfree.tokenizer import (
    AdditionTokenizer,
    ByteTokenizer,
    ModularTokenizer,
    ParityTokenizer,
    TextTokenizer,
    Tokenizer,
    tokenizer_from_dict,
)

RUN_TASKS: dict[str, Callable[[], Tokenizer]] = {
    "addition": AdditionTokenizer,
    "text": ByteTokenizer,
    "parity": ParityTokenizer,
    "modular-addition": ModularTokenizer,
}
"""What can be trained, and its tokenizer."""

TOKENIZER_NAME, TRAINING_NAME = "tokenizer.json", "training.safetensors"
"""Files of a checkpoint: its tokenizer, and what resumption needs."""


PRECISIONS = ("fp32", "bf16")

ARCHITECTURES = ("matmul-free", "transformer")
"""What can be trained; a transformer is the baseline (mmfree/transformer.py), and cannot be exported."""


def _linear(done: float) -> float:
    return 1 - done


def _two_phases(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done)) * (1.0 if done < 0.5 else 0.5)


SCHEDULES: dict[str, Callable[[float], float]] = {"linear": _linear, "two-phase": _two_phases}
"""Learning rate against the share of the steps that are done: "two-phase" is a cosine that is halved midway, as the published models were trained (arXiv 2406.02528)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train (AdamW; the learning rate rises over ``warmup_steps``, and then falls to 0 at ``steps``: see SCHEDULES).

    ``length``: most columns of a sum, most bits, or tokens of a text window (modular addition has one length). ``clip``: largest norm of the gradient.
    ``precision``: "bf16" makes the products of the way back of a MatMul-free model, and a Transformer's of both ways, in bfloat16. ``accumulate``: parts that a batch is cut into, one after another, to save memory.
    ``compile``: with torch.compile.
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

    def __post_init__(self) -> None:
        for name, known in (("task", RUN_TASKS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in known:
                raise ValueError(f"recipe: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if type(self.compile) is not bool:
            raise ValueError(f"recipe: compile must be true or false, got {self.compile!r}")
        for name in ("steps", "batch_size", "length", "warmup_steps", "accumulate"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"recipe: {name} must be a positive integer, got {value!r}")
        for name in ("learning_rate", "clip", "weight_decay"):
            value = getattr(self, name)
            low = 0 if name == "weight_decay" else 1e-12
            if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value < math.inf:
                raise ValueError(f"recipe: {name} must be a positive number, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A model and a recipe that fit together.

    ``architecture``: of ARCHITECTURES, left out of the JSON if it is the first. ``subword``: description (``to_dict``) of the tokenizer of a text model; None: the task's own. As JSON it is a file's name, relative to the config's folder, and the
    description's sha256: {"tokenizer": {"file": "tokenizer.json", "sha256": ...}}. A config may name any file that ``mmfree.subword.load_tokenizer`` reads, without sha256.
    """

    model: ModelConfig
    recipe: Recipe
    subword: dict[str, Any] | None = None
    architecture: str = "matmul-free"

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, str) or self.architecture not in ARCHITECTURES:
            raise ValueError(f"config: architecture must be one of {', '.join(ARCHITECTURES)}, got {self.architecture!r}")
        if self.architecture == "transformer" and self.model.hidden_size % 2:
            raise ValueError(f"config: hidden_size of a transformer must be even, for rotary positions, got {self.model.hidden_size}")
        if self.subword is not None and self.recipe.task != "text":
            raise ValueError(f"config: task {self.recipe.task} has a tokenizer of its own; leave tokenizer out")
        tokens, rows = self.tokenizer.vocab_size, self.tokenizer.head_size
        if (self.model.vocab_size, self.model.head_size) != (tokens, rows):
            what = f"task {self.recipe.task}" if self.subword is None else "the tokenizer"
            remedy = "; change them, or name another tokenizer" if self.recipe.task == "text" else ""
            raise ValueError(
                f"config: {what} needs vocab_size {tokens} and head_size {rows}, "
                f"got {self.model.vocab_size} and {self.model.head_size}{remedy}"
            )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return RUN_TASKS[self.recipe.task]() if self.subword is None else tokenizer_from_dict(self.subword)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        data: dict[str, Any] = {"model": self.model.to_dict(), "recipe": asdict(self.recipe)}
        if self.subword is not None:
            data["tokenizer"] = {"file": TOKENIZER_NAME, "sha256": _sha256(self.subword)}
        if self.architecture != "matmul-free":
            data["architecture"] = self.architecture
        return data

    @classmethod
    def from_dict(cls, data: Any, source: str = "config", *, tokenizer: TextTokenizer | None = None) -> RunConfig:
        """Build from a JSON object with "model", "recipe" and perhaps "tokenizer"; errors name ``source`` and the field.

        ``source`` is the file, beside which the tokenizer's is; ``tokenizer`` is used instead of that if it is given.
        """
        if not isinstance(data, dict) or set(data) - {"tokenizer", "architecture"} != {"model", "recipe"}:
            raise ValueError(f'{source}: expected a JSON object with "model" and "recipe"')
        model = ModelConfig.from_dict(data["model"], source)
        values = data["recipe"]
        known = {item.name for item in fields(Recipe)}
        if not isinstance(values, dict) or (unknown := sorted(set(values) - known)):
            what = f"unknown field {unknown[0]!r}" if isinstance(values, dict) else "no JSON object"
            raise ValueError(f"{source}: recipe: {what}; known: {sorted(known)}")
        required = {item.name for item in fields(Recipe) if item.default is MISSING}
        if missing := sorted(required - set(values)):
            raise ValueError(f"{source}: recipe: missing field {missing[0]!r}")
        if tokenizer is not None:
            subword = _description(tokenizer)
        else:
            subword = _read_subword(data["tokenizer"], source) if "tokenizer" in data else None
        try:
            architecture = data.get("architecture", "matmul-free")
            return cls(model=model, recipe=Recipe(**values), subword=subword, architecture=architecture)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None


def _sha256(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _description(tokenizer: TextTokenizer) -> dict[str, Any] | None:
    """As ``RunConfig.subword`` has it: None for bytes, which text models read unless told otherwise."""
    return None if tokenizer.kind == ByteTokenizer.kind else tokenizer.to_dict()


def _read_subword(entry: Any, source: str) -> dict[str, Any] | None:
    """The description of the tokenizer that a config names."""
    if isinstance(entry, str):
        entry = {"file": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or set(entry) - {"file", "sha256"}:
        raise ValueError(f'{source}: tokenizer must be a file name, or {{"file": ..., "sha256": ...}}')
    from mmfree.subword import load_tokenizer

    path = Path(source).parent / entry["file"]
    tokenizer = load_tokenizer(str(path))
    if entry.get("sha256", found := _sha256(tokenizer.to_dict())) != found:
        raise ValueError(f"{path}: not the tokenizer of {source}: its sha256 differs")
    return _description(tokenizer)


def addition(gate: str = "hard") -> RunConfig:
    """Streaming addition of up to 20 columns; about 110 CPU seconds."""
    recipe = Recipe(task="addition", steps=2500, batch_size=64, length=20, learning_rate=6e-3)
    return RunConfig(model=addition_model(gate), recipe=recipe)


def text(gate: str = "hard") -> RunConfig:
    """Byte-level text, in a few minutes on two cores."""
    recipe = Recipe(task="text", steps=1200, batch_size=16, length=128, learning_rate=6e-3)
    return RunConfig(model=text_model(gate), recipe=recipe)


def parity(gate: str = "signed") -> RunConfig:
    """Parity of up to 32 bits, in five seconds: possible with the signed gate alone."""
    recipe = Recipe(task="parity", steps=300, batch_size=64, length=32, learning_rate=2e-2)
    return RunConfig(model=parity_model(gate), recipe=recipe)


def modular_addition(gate: str = "hard") -> RunConfig:
    """Addition modulo 97 from 40 % of the pairs: weight decay makes it learn the rule, long after the pairs; about 70 CPU seconds."""
    recipe = Recipe(
        task="modular-addition",
        steps=1400,
        batch_size=512,
        length=1,
        learning_rate=6e-3,
        weight_decay=1.0,
    )
    return RunConfig(model=modular_model(gate), recipe=recipe)


PRESETS: dict[str, Callable[..., RunConfig]] = {
    "addition": addition,
    "text": text,
    "parity": parity,
    "modular-addition": modular_addition,
}


def load_run_config(
    name: str, gate: str | None = None, tokenizer: TextTokenizer | None = None
) -> RunConfig:
    """A preset by its name, or the run described by a JSON file.

    With a ``tokenizer``, a preset's vocabulary follows it; a file's must be the tokenizer's.

    Raises
    ------
    ValueError
        If it is neither, the file is not valid, or the tokenizer does not fit.
    """
    if name in PRESETS:
        config = PRESETS[name](gate) if gate is not None else PRESETS[name]()
        if tokenizer is None:
            return config
        if config.recipe.task != "text":
            raise ValueError(f"{name}: --tokenizer is for text; task {config.recipe.task} has its own")
        model = replace(config.model, vocab_size=tokenizer.vocab_size, head_size=tokenizer.head_size)
        return replace(config, model=model, subword=_description(tokenizer))
    if not name.endswith(".json"):
        presets = ", ".join(sorted(PRESETS))
        raise ValueError(f"{name}: neither a preset ({presets}) nor a .json file")
    config = RunConfig.from_dict(read_json(Path(name)), name, tokenizer=tokenizer)
    if gate is not None and gate != config.model.gate:
        raise ValueError(f"{name}: its gate is {config.model.gate}; change the file, not the option")
    return config
