"""Presets are the runs that the documentation's figures were measured with."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mmfree.errors import InputError
from mmfree.text.corpus import Text
from mmfree.text.shard_writing import write_shards
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training import presets
from mmfree.training.presets import PRESETS, load_run_config, run_config
from mmfree.training.recipe import Recipe, RunConfig
from mmfree.training.train import train
from tests.support.subwords import TEXT, bpe, pieces
from tests.training.test_train import TINY_TEXT

# vocabulary, rows, d, I, layers, gate, shift | steps, batch, length, rate, decay
FIGURES = {
    "addition": ((31, 10, 64, 128, 2, "hard", 0), (2500, 64, 20, 6e-3, 0.01)),
    "text": ((256, 256, 128, 256, 2, "hard", 0), (1200, 16, 128, 6e-3, 0.01)),
    "parity": ((3, 2, 32, 64, 1, "signed", 0), (300, 64, 32, 2e-2, 0.01)),
    "stories": ((256, 256, 160, 512, 3, "hard", 80), (10000, 16, 256, 6e-3, 0.01)),
    "modular-addition": ((195, 97, 128, 256, 1, "hard", 0), (1400, 512, 1, 6e-3, 1.0)),
}
DEFAULTS = {
    "weight_decay": 0.01,
    "warmup_steps": 20,
    "clip": 1.0,
    "schedule": "linear",
    "precision": "fp32",
    "accumulate": 1,
    "compile": False,
    "hold": 0.0,
    "longest_memory": 0.0,
    "embedding_rate": 1.0,
    "teacher_share": 0.5,
}
OWN = {
    "stories": {
        "task": "text",
        "warmup_steps": 50,
        "schedule": "two-phase",
        "precision": "bf16",
        "compile": True,
        "hold": 0.01,
        "longest_memory": 100,
        "embedding_rate": 30,
    }
}
"""What a preset has besides."""


def test_presets_are_as_they_were_measured() -> None:
    assert PRESETS.keys() == FIGURES.keys()
    for name, (model, values) in FIGURES.items():
        config = load_run_config(name)
        assert tuple(asdict(config.model).values()) == model
        steps, batch_size, length, learning_rate, weight_decay = values
        assert asdict(config.recipe) == DEFAULTS | {
            "task": name,
            "steps": steps,
            "batch_size": batch_size,
            "length": length,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            **OWN.get(name, {}),
        }
        assert (config.architecture, config.subword) == ("matmul-free", None)


def test_what_a_config_leaves_out_has_its_default() -> None:
    recipe = Recipe(task="text", steps=1, batch_size=2, length=3, learning_rate=4)
    given = {"task": "text", "steps": 1, "batch_size": 2, "length": 3, "learning_rate": 4}
    assert asdict(recipe) == given | DEFAULTS


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A text, records with two fields, and shards of a vocabulary of 400."""
    (tmp_path / "a.txt").write_text(TEXT)
    lines = (json.dumps({"text": "x", "story": f"{n} {TEXT[:900]}"}) for n in range(40))
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    write_shards(Text.of([tmp_path / "a.txt"]), bpe(), tmp_path / "shards")
    return tmp_path


def size(config: RunConfig) -> tuple[int, int]:
    assert config.tokenizer.vocab_size == config.model.vocab_size
    return config.model.vocab_size, config.model.head_size


def test_options_reach_the_run(sources: Path) -> None:
    assert run_config("text", steps=7).recipe.steps == 7
    assert run_config("text").recipe.steps == 1200
    for gate in ("sigmoid", "signed"):
        assert run_config("text", gate=gate).model.gate == gate
        assert run_config("parity", gate=gate).model.gate == gate
    assert size(run_config("text", tokenizer="bpe:300", data=[sources / "a.txt"])) == (300, 300)
    (sources / "my.model").write_bytes(pieces()._model)
    assert size(run_config("text", tokenizer=str(sources / "my.model"))) == (400, 400)
    assert size(run_config("text", tokenizer="bytes")) == (256, 256)
    assert size(run_config("text", data=[sources / "shards"])) == (400, 400)
    learned = run_config("text", tokenizer="bpe:300", data=[sources / "b.jsonl"], field="story")
    assert learned.subword is not None
    assert len(learned.tokenizer.encode("the cat")) < len("the cat")
    with pytest.raises(InputError, match="too short for 300 tokens"):
        run_config("text", tokenizer="bpe:300", data=[sources / "b.jsonl"])


def test_numbers_of_a_preset_and_of_a_file_change(tmp_path: Path) -> None:
    options: dict[str, float] = {
        "steps": 7,
        "width": 192,
        "layers": 5,
        "rate": 4e-3,
        "batch": 3,
        "length": 11,
    }
    path = tmp_path / "my.json"
    path.write_text(json.dumps(run_config("text").to_dict()))
    for name in ("text", str(path)):
        config = run_config(name, **options)  # type: ignore[arg-type]
        recipe, model = config.recipe, config.model
        assert (recipe.steps, recipe.learning_rate, recipe.batch_size) == (7, 4e-3, 3)
        assert (recipe.length, model.num_layers) == (11, 5)
        assert (model.hidden_size, model.intermediate_size) == (192, 384)
        for option, value in options.items():
            one: dict[str, Any] = {option: value}
            assert run_config(name, **one) != run_config(name)
    assert run_config("text", layers=3).model.intermediate_size == 256
    assert run_config("text", width=1).model.intermediate_size == 2
    narrow = replace(run_config("text").model, intermediate_size=32)
    slim = presets.changed(replace(run_config("text"), model=narrow), width=1).model
    assert slim.intermediate_size == 1, "0.25, but there is no width of 0"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("text", {"batch": 0}, "^--batch: recipe: batch_size must be a positive integer, got 0"),
        ("text", {"width": 1 << 30}, "^--width: config: hidden_size must be an integer in 1"),
        ("text", {"rate": 1e9, "layers": 2}, "^--rate, --layers: recipe: learning_rate must be at"),
        ("modular-addition", {"length": 2}, "^--length: the examples of task modular-addition"),
    ],
)
def test_a_number_out_of_range_names_its_option(
    name: str, options: dict[str, float], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        run_config(name, **options)  # type: ignore[arg-type]


def test_a_run_that_goes_on_keeps_its_tokenizer(sources: Path) -> None:
    """Unless another is named: that of the shards, or by name."""
    config = run_config("text", data=[sources / "shards"], steps=1)
    small = TINY_TEXT.recipe
    own = replace(config, recipe=replace(small, steps=1))
    train(own, sources / "run", data=[sources / "shards"])
    assert run_config("text", goes_on=sources / "run").subword == config.subword
    assert run_config("text", goes_on=sources / "none").subword is None
    assert run_config("text", goes_on=sources / "run", tokenizer="bytes").subword is None
    train(TINY_TEXT, sources / "bytes", stop_at=1)
    assert run_config("text", goes_on=sources / "bytes").subword is None
    kept = run_config("text", goes_on=sources / "bytes", data=[sources / "shards"])
    assert kept.subword == config.subword


def test_a_task_is_refused_a_tokenizer_before_anything_is_learned() -> None:
    with (
        mock.patch.object(presets, "find_tokenizer", side_effect=AssertionError),
        pytest.raises(InputError, match="addition: --tokenizer is for text; task addition has its"),
    ):
        run_config("addition", tokenizer="bpe:300")


def test_a_files_vocabulary_is_the_tokenizers(sources: Path) -> None:
    path = sources / "config.json"
    model = replace(TINY_TEXT.model, vocab_size=400, head_size=400)
    path.write_text(json.dumps({"model": asdict(model), "recipe": asdict(TINY_TEXT.recipe)}))
    assert load_run_config(str(path), tokenizer=bpe()).subword == bpe().to_dict()
    with pytest.raises(InputError, match="task text needs vocab_size 256"):
        load_run_config(str(path), tokenizer=ByteTokenizer())
    assert load_run_config(str(path), "hard", bpe()).model.gate == "hard"
