"""What a training run is: a model, a task and a recipe; and the presets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
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
    Tokenizer,
)

RUN_TASKS: dict[str, Callable[[], Tokenizer]] = {
    "addition": AdditionTokenizer,
    "text": ByteTokenizer,
    "parity": ParityTokenizer,
    "modular-addition": ModularTokenizer,
}
"""What can be trained, and its tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train (AdamW; the learning rate rises over ``warmup_steps`` and falls linearly to 0 at ``steps``).

    ``length``: most columns of a sum, most bits, or bytes of a text window (modular addition has one length). ``clip``: largest norm of the gradient.
    """

    task: str
    steps: int
    batch_size: int
    length: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup_steps: int = 20
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.task not in RUN_TASKS:
            raise ValueError(f"recipe: task must be one of {', '.join(RUN_TASKS)}, got {self.task!r}")
        for name in ("steps", "batch_size", "length", "warmup_steps"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"recipe: {name} must be a positive integer, got {value!r}")
        for name in ("learning_rate", "clip", "weight_decay"):
            value = getattr(self, name)
            low = 0 if name == "weight_decay" else 1e-12
            if not isinstance(value, int | float) or isinstance(value, bool) or not value >= low:
                raise ValueError(f"recipe: {name} must be a positive number, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A model and a recipe that fit together."""

    model: ModelConfig
    recipe: Recipe

    def __post_init__(self) -> None:
        tokens, rows = self.tokenizer.vocab_size, self.tokenizer.head_size
        if (self.model.vocab_size, self.model.head_size) != (tokens, rows):
            raise ValueError(
                f"config: task {self.recipe.task} needs vocab_size {tokens} and head_size {rows}, "
                f"got {self.model.vocab_size} and {self.model.head_size}"
            )

    @property
    def tokenizer(self) -> Tokenizer:
        """The task's tokenizer."""
        return RUN_TASKS[self.recipe.task]()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"model": self.model.to_dict(), "recipe": asdict(self.recipe)}

    @classmethod
    def from_dict(cls, data: Any, source: str = "config") -> RunConfig:
        """Build from a JSON object with "model" and "recipe"; errors name ``source`` and the field."""
        if not isinstance(data, dict) or set(data) != {"model", "recipe"}:
            raise ValueError(f'{source}: expected a JSON object with "model" and "recipe"')
        model = ModelConfig.from_dict(data["model"], source)
        values = data["recipe"]
        known = {item.name for item in fields(Recipe)}
        if not isinstance(values, dict) or (unknown := sorted(set(values) - known)):
            what = f"unknown field {unknown[0]!r}" if isinstance(values, dict) else "no JSON object"
            raise ValueError(f"{source}: recipe: {what}; known: {sorted(known)}")
        required = known - {"weight_decay", "warmup_steps", "clip"}
        if missing := sorted(required - set(values)):
            raise ValueError(f"{source}: recipe: missing field {missing[0]!r}")
        try:
            return cls(model=model, recipe=Recipe(**values))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None


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


def load_run_config(name: str, gate: str | None = None) -> RunConfig:
    """A preset by its name, or the run described by a JSON file.

    Raises
    ------
    ValueError
        If it is neither, or the file is not valid.
    """
    if name in PRESETS:
        return PRESETS[name](gate) if gate is not None else PRESETS[name]()
    if not name.endswith(".json"):
        presets = ", ".join(sorted(PRESETS))
        raise ValueError(f"{name}: neither a preset ({presets}) nor a .json file")
    config = RunConfig.from_dict(read_json(Path(name)), name)
    if gate is not None and gate != config.model.gate:
        raise ValueError(f"{name}: its gate is {config.model.gate}; change the file, not the option")
    return config
