"""Shapes of models, by name or from what a person has of a model: all that a plan needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmfree.contract.shape import AbsmaxConfig, AnyConfig, ModelConfig
from mmfree.errors import InputError, did_you_mean
from mmfree.files.atomic import read_json
from mmfree.inference.places import CONFIG_NAME, find_model
from mmfree.published.hgrn_bit import MODEL_TYPE, model_type, read_config
from mmfree.shipped import NAMES, shipped_tape
from mmfree.tape.reading import open_tape
from mmfree.training.folder import load_config
from mmfree.training.presets import PRESETS


def _published(hidden_size: int, num_layers: int, intermediate_size: int) -> AbsmaxConfig:
    return AbsmaxConfig(
        vocab_size=32000,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=num_layers,
    )


PUBLISHED = {
    "370m": _published(1024, 24, 2816),
    "1.3b": _published(2048, 24, 5632),
    "2.7b": _published(2560, 32, 6912),
}
"""The published MMfreeLM models (ridger/MMfreeLM-370M, -1.3B and -2.7B)."""

SHAPES = {
    name: ModelConfig(
        vocab_size=config.vocab_size,
        head_size=config.head_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_layers=config.num_layers,
        gate="sigmoid",
    )
    for name, config in PUBLISHED.items()
}
"""Models of the same sizes, as they would be trained here."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model's shape, and what it is called: one of PUBLISHED if it has these sizes.

    ``published``: in the arithmetic of published checkpoints; its config is an AbsmaxConfig.
    """

    name: str
    config: AnyConfig
    published: bool


def find_shape(model: Path) -> Shape:
    """The shape of a model: by name, or of what lies at a path.

    What exists, or comes with mmfree, is first: a tape, a checkpoint (trained here or published), a
    run folder with either, or a JSON file with a model's config, alone or as ``mmfree config``
    prints it. Else one of PUBLISHED or a preset.

    Raises
    ------
    InputError
        If there is none; the message names the nearest name.
    """
    word = str(model).casefold()
    if not model.exists() and shipped_tape(model) is None:
        if word in PUBLISHED:
            return Shape(name=word, config=PUBLISHED[word], published=True)
        if word in PRESETS:
            return Shape(name=word, config=PRESETS[word]().model, published=False)
        near = did_you_mean(word, _NAMES) or f"; shapes by name: {', '.join(_NAMES)}"
        raise InputError(f"{model}: no such file or folder{near}")
    config = _of_json(model) if model.suffix == ".json" else _of_place(model)
    names = (name for name, shape in PUBLISHED.items() if _sizes(shape) == _sizes(config))
    name = next(names, str(model))
    return Shape(name=name, config=config, published=isinstance(config, AbsmaxConfig))


def _sizes(config: AnyConfig) -> tuple[int, ...]:
    return (
        config.vocab_size,
        config.head_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_layers,
    )


_NAMES = (*PUBLISHED, *PRESETS, *NAMES)


def _of_place(path: Path) -> AnyConfig:
    """The config of a tape, of a checkpoint, or of what a run folder holds; nothing is exported."""
    found = find_model(path)
    if found.tape is not None:
        return open_tape(found.tape).config
    assert found.checkpoint is not None
    if model_type(found.checkpoint) == MODEL_TYPE:
        return read_config(found.checkpoint)
    run = load_config(found.checkpoint)
    _refuse_transformer(run.architecture, found.checkpoint)
    return run.model


def _of_json(path: Path) -> AnyConfig:
    """The config in a file: a model's own, the "model" of a run, or of a published checkpoint."""
    data = read_json(path)
    if isinstance(data, dict) and "model_type" in data:
        if path.name != CONFIG_NAME:
            raise InputError(f"{path}: the config of a published checkpoint: give its folder")
        return read_config(path.parent)
    if isinstance(data, dict) and "model" in data:
        _refuse_transformer(data.get("architecture"), path)
        return ModelConfig.from_dict(data["model"], f"{path}: model")
    return ModelConfig.from_dict(data, str(path))


def _refuse_transformer(architecture: object, path: Path) -> None:
    if architecture == "transformer":
        raise InputError(f"{path}: a transformer, which no accelerator plays")
