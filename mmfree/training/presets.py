"""Presets: runs by name, and the run that ``mmfree train`` is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError, did_you_mean
from mmfree.files.atomic import read_json
from mmfree.text.corpus import Text
from mmfree.text.shards import read_tokenizer
from mmfree.text.sources import DEFAULT_FIELD, is_shards
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer, text_tokenizer
from mmfree.text.tokenizers import BPE_PREFIX, find_tokenizer, tokenizer_from_dict
from mmfree.training.recipe import CONFIG_NAME, Recipe, RunConfig, subword_description


def addition_model(gate: str = "hard") -> ModelConfig:
    """Two layers of d = 64 for streaming addition: 31 input tokens, ten output rows."""
    return ModelConfig(
        vocab_size=31,
        head_size=10,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        gate=gate,
    )


def text_model(gate: str = "hard") -> ModelConfig:
    """Two layers of d = 128 over bytes: small enough to train in minutes on a CPU."""
    return ModelConfig(
        vocab_size=256,
        head_size=256,
        hidden_size=128,
        intermediate_size=256,
        num_layers=2,
        gate=gate,
    )


def parity_model(gate: str = "signed") -> ModelConfig:
    """One layer of d = 32 over bits."""
    return ModelConfig(
        vocab_size=3, head_size=2, hidden_size=32, intermediate_size=64, num_layers=1, gate=gate
    )


def modular_model(gate: str = "hard") -> ModelConfig:
    """One layer of d = 128 for addition modulo 97: a, b and "="."""
    return ModelConfig(
        vocab_size=195,
        head_size=97,
        hidden_size=128,
        intermediate_size=256,
        num_layers=1,
        gate=gate,
    )


def stories_model(gate: str = "hard") -> ModelConfig:
    """Three layers of d = 160, half of whose channels read the position before; with 1,024 pieces
    of text in place of bytes it fills the block RAM of an LFE5U-85F.
    """
    return ModelConfig(
        vocab_size=256,
        head_size=256,
        hidden_size=160,
        intermediate_size=512,
        num_layers=3,
        gate=gate,
        token_shift=80,
    )


def addition(gate: str = "hard") -> RunConfig:
    """Streaming addition of up to 20 columns; about 110 CPU seconds."""
    recipe = Recipe(task="addition", steps=2500, batch_size=64, length=20, learning_rate=6e-3)
    return RunConfig(model=addition_model(gate), recipe=recipe)


def text(gate: str = "hard") -> RunConfig:
    """Byte-level text, in a few minutes on two cores."""
    recipe = Recipe(task="text", steps=1200, batch_size=16, length=128, learning_rate=6e-3)
    return RunConfig(model=text_model(gate), recipe=recipe)


def parity(gate: str = "signed") -> RunConfig:
    """Parity of up to 32 bits, in five seconds; only the signed gate can learn it."""
    recipe = Recipe(task="parity", steps=300, batch_size=64, length=32, learning_rate=2e-2)
    return RunConfig(model=parity_model(gate), recipe=recipe)


def modular_addition(gate: str = "hard") -> RunConfig:
    """Addition modulo 97 from 40 % of the pairs; about 70 CPU seconds.

    Weight decay makes the model learn the rule, long after it knows the pairs.
    """
    recipe = Recipe(
        task="modular-addition",
        steps=1400,
        batch_size=512,
        length=1,
        learning_rate=6e-3,
        weight_decay=1.0,
    )
    return RunConfig(model=modular_model(gate), recipe=recipe)


def stories(gate: str = "hard") -> RunConfig:
    """The model that comes with mmfree: about an hour of a core, with ``--tokenizer bpe:1024``, a
    text of stories and a teacher (docs/stories.md).
    """
    recipe = Recipe(
        task="text",
        steps=10_000,
        batch_size=16,
        length=256,
        learning_rate=6e-3,
        warmup_steps=50,
        schedule="two-phase",
        precision="bf16",
        compile=True,
        hold=0.01,
        longest_memory=100,
        embedding_rate=30,
    )
    return RunConfig(model=stories_model(gate), recipe=recipe)


PRESETS: dict[str, Callable[..., RunConfig]] = {
    "addition": addition,
    "text": text,
    "stories": stories,
    "parity": parity,
    "modular-addition": modular_addition,
}
"""By name; each takes the gate, and has a default for it."""


def load_run_config(
    name: str, gate: str | None = None, tokenizer: TextTokenizer | None = None
) -> RunConfig:
    """A preset by its name, or the run that a JSON file describes.

    With a ``tokenizer`` a preset takes its vocabulary; a file's must already be the tokenizer's.

    Raises
    ------
    InputError
        If it is neither, the file is not valid, or the tokenizer does not fit.
    """
    if name in PRESETS:
        config = PRESETS[name](gate) if gate is not None else PRESETS[name]()
        if tokenizer is None:
            return config
        if config.recipe.task != "text":
            raise InputError(
                f"{name}: --tokenizer is for text; task {config.recipe.task} has its own"
            )
        model = replace(
            config.model, vocab_size=tokenizer.vocab_size, head_size=tokenizer.head_size
        )
        return replace(config, model=model, subword=subword_description(tokenizer))
    if not name.endswith(".json"):
        presets = ", ".join(sorted(PRESETS))
        near = did_you_mean(name, PRESETS)
        raise InputError(f"{name}: neither a preset ({presets}) nor a .json file{near}")
    config = RunConfig.from_dict(read_json(Path(name)), name, tokenizer=tokenizer)
    if gate is not None and gate != config.model.gate:
        raise InputError(
            f"{name}: its gate is {config.model.gate}; change the file, not the option"
        )
    return config


def run_config(
    name: str,
    *,
    gate: str | None = None,
    tokenizer: str | None = None,
    data: list[Path] | None = None,
    field: str | None = None,
    steps: int | None = None,
    width: int | None = None,
    layers: int | None = None,
    rate: float | None = None,
    batch: int | None = None,
    length: int | None = None,
    goes_on: Path | None = None,
) -> RunConfig:
    """The run that ``mmfree train`` is asked for.

    Its tokenizer is the one named, else that of the shards, else that of the run that goes on, else
    the config's own.

    Parameters
    ----------
    name
        A preset, or a JSON file.
    gate
        Forget gate of a preset; None: the preset's own.
    tokenizer
        As ``find_tokenizer`` takes it; None: see above.
    data
        What the run learns from: a vocabulary is learned from it, shards have their tokenizer.
    field
        Of a record of ``data``, that holds its text; None: "text".
    steps, width, layers, rate, batch, length
        In place of what the preset or the file says (``changed``); None: as it says.
    goes_on
        Folder of the run that goes on, if one does.

    Raises
    ------
    InputError
        If preset or file is not valid, a number is out of range, or the tokenizer's vocabulary is
        not the file's.
    """
    if tokenizer is not None and name in PRESETS:
        load_run_config(name, gate, ByteTokenizer())  # refuses a task before anything is learned
    found = _tokenizer_asked_for(tokenizer, data or [], field or DEFAULT_FIELD, goes_on)
    config = load_run_config(name, gate, found)
    return changed(
        config, steps=steps, width=width, layers=layers, rate=rate, batch=batch, length=length
    )


def changed(
    config: RunConfig,
    *,
    steps: int | None = None,
    width: int | None = None,
    layers: int | None = None,
    rate: float | None = None,
    batch: int | None = None,
    length: int | None = None,
) -> RunConfig:
    """A run with other numbers; None: as it is.

    Parameters
    ----------
    steps, rate, batch, length
        The recipe's ``steps``, ``learning_rate``, ``batch_size`` and ``length``.
    width, layers
        The model's ``hidden_size`` and ``num_layers``. ``intermediate_size`` changes with the width
        in proportion, rounded to a whole number.

    Raises
    ------
    InputError
        If a number is out of range, or the task's examples have one length; the message names the
        option.
    """
    recipe = {"steps": steps, "learning_rate": rate, "batch_size": batch, "length": length}
    if length is not None and config.recipe.task == "modular-addition":
        raise InputError("--length: the examples of task modular-addition have one length")
    sizes: dict[str, int | None] = {"hidden_size": width, "num_layers": layers}
    if width is not None:
        model = config.model
        sizes["intermediate_size"] = max(
            1, round(model.intermediate_size * width / model.hidden_size)
        )
    given = [option for field, option in _OPTIONS.items() if (recipe | sizes)[field] is not None]
    if not given:
        return config
    try:
        return replace(
            config,
            recipe=replace(config.recipe, **_given(recipe)),
            model=replace(config.model, **_given(sizes)),
        )
    except InputError as error:
        raise InputError(f"{', '.join(given)}: {error}") from None


_OPTIONS = {
    "steps": "--steps",
    "learning_rate": "--rate",
    "batch_size": "--batch",
    "length": "--length",
    "hidden_size": "--width",
    "num_layers": "--layers",
}
"""Field -> the option that changes it."""


def _given(values: Mapping[str, float | None]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _tokenizer_asked_for(
    name: str | None, data: list[Path], field: str, goes_on: Path | None
) -> TextTokenizer | None:
    shards = [path for path in data if is_shards(path)]
    if name is not None:
        if shards and name.startswith(BPE_PREFIX):
            raise InputError(
                f"{shards[0]}: holds tokens, from which no vocabulary can be learned; leave"
                " --tokenizer out"
            )
        return find_tokenizer(name, Text.of([] if shards else data, field))
    if len(data) == 1 and shards:
        return read_tokenizer(data[0])
    before = None if goes_on is None else goes_on / CONFIG_NAME
    if before is not None and before.is_file():
        subword = RunConfig.from_dict(read_json(before), str(before)).subword
        if subword is not None:
            return text_tokenizer(tokenizer_from_dict(subword))
    return None
