"""Every field of recipe and model, and every option of ``train``, has an effect.

Two short runs that differ in it alone differ in the result. A new field needs a row, or a note.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmfree.training.loop
from mmfree.contract.shape import ModelConfig
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.models.transformer import Transformer
from mmfree.training.checkpoint import load_training_state
from mmfree.training.metrics import METRICS_NAME
from mmfree.training.recipe import Recipe, RunConfig
from mmfree.training.train import train
from tests.support.subwords import bpe
from tests.training.test_train import TINY, TINY_TEXT

ROOT = Path(__file__).parents[2]

BASE = replace(TINY, recipe=replace(TINY.recipe, steps=4))
BASE_TEXT = replace(TINY_TEXT, recipe=replace(TINY_TEXT.recipe, steps=2))

RECIPE: dict[str, object] = {
    "steps": 5,
    "batch_size": 5,
    "length": 6,
    "learning_rate": 6e-3,
    "weight_decay": 0.02,
    "warmup_steps": 21,
    "clip": 1e-2,
    "schedule": "two-phase",
    "precision": "bf16",
    "accumulate": 2,
    "longest_memory": 16,
    "embedding_rate": 2.0,
}
RECIPE_NOTES = {
    "hold": "nothing is beyond its limits so early: tests/models/test_bitlinear.py",
    "teacher_share": "of a loss with a teacher: test_teacher.py, test_a_step_learns_from_both",
    "task": "needs a model of another vocabulary, so it cannot differ alone",
    "compile": "gives the same numbers: test_torch_compiles_if_the_recipe_says_so",
}

MODEL: dict[str, object] = {
    "vocab_size": 32,
    "head_size": 11,
    "hidden_size": 14,
    "intermediate_size": 18,
    "num_layers": 2,
    "gate": "signed",
    "token_shift": 5,
}

TRAIN_NOTES = {
    "config": "every field has a row of its own",
    "folder": "where the result is",
    "teacher": "test_teacher.py",
    "minutes": "test_minutes_become_steps_of_the_measured_length",
    "resume": "test_a_resumed_run_equals_one_that_was_never_stopped",
    "extend": "test_more_steps_come_on_top_with_a_rate_that_rises_anew",
    "force": "test_a_checkpoint_is_not_overwritten",
    "corpus": "what data and field say, read already: test_early_checks.py",
    "shard": "test_distributed.py, and refused with one process",
}


def result_of(config: RunConfig, folder: Path, **options: Any) -> tuple[Any, ...]:
    """All numbers of a run: its weights, its table, and what it has besides."""
    train(config, folder, **options)
    weights = load_training_state(folder).weights
    shown = {name: tensor.tolist() for name, tensor in sorted(weights.items())}
    names = sorted(path.name for path in folder.iterdir())
    return shown, (folder / METRICS_NAME).read_text(), names


def rows_for(kind: type, rows: Mapping[str, object], notes: Mapping[str, str]) -> None:
    names = [field.name for field in fields(kind)]
    assert sorted([*rows, *notes]) == sorted(names), "a row or a note for each field"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    return result_of(BASE, tmp_path_factory.mktemp("base") / "run")


def test_every_field_and_option_has_a_row_or_a_note() -> None:
    rows_for(Recipe, RECIPE, RECIPE_NOTES)
    rows_for(ModelConfig, MODEL, {})
    rows_for(RunConfig, {"architecture": 0, "subword": 0}, {"model": "", "recipe": ""})
    options = [*inspect.signature(train).parameters]
    assert sorted([*OPTIONS, *TRAIN_NOTES]) == sorted(options)


@pytest.mark.parametrize(
    ("heading", "kind"), [("config", RunConfig), ("model", ModelConfig), ("recipe", Recipe)]
)
def test_the_page_has_every_field_and_its_default(heading: str, kind: type) -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    word = "of the config" if heading == "config" else f"of `{heading}`"
    table = page.split(f"| field {word} | default | meaning |\n|---|---|---|\n")[1].split("\n\n")[0]
    shown = {}
    for line in table.splitlines():
        name, default, meaning = (cell.strip() for cell in line.strip("|").split("|"))
        assert meaning
        shown[name.strip("`")] = default
    wanted = {
        # In JSON it has the name of what it describes.
        {"subword": "tokenizer"}.get(field.name, field.name): field.default
        for field in fields(kind)
    }
    assert [*shown] == [*wanted]
    for name, default in wanted.items():
        if name != "tokenizer":
            assert shown[name] == ("" if default is MISSING else f"`{json.dumps(default)}`"), name


def test_a_run_is_the_same_each_time(base: tuple[Any, ...], tmp_path: Path) -> None:
    assert result_of(BASE, tmp_path / "run") == base


@pytest.mark.parametrize("name", RECIPE)
def test_a_field_of_the_recipe_changes_the_weights(
    name: str, base: tuple[Any, ...], tmp_path: Path
) -> None:
    other = replace(BASE, recipe=replace(BASE.recipe, **{name: RECIPE[name]}))
    assert result_of(other, tmp_path / "run")[0] != base[0]


@pytest.mark.parametrize("name", [*RECIPE, "hold", "teacher_share"])
def test_a_field_of_the_recipe_is_kept_in_a_file(name: str) -> None:
    value = {"hold": 0.25, "teacher_share": 0.75, **RECIPE}[name]
    other = replace(BASE, recipe=replace(BASE.recipe, **{name: value}))
    said = json.loads(json.dumps(other.to_dict()))
    assert said["recipe"][name] == value
    assert RunConfig.from_dict(said) == other
    # A file says no more than it did before there were such fields.
    came_later = {"hold", "longest_memory", "embedding_rate", "teacher_share"}
    others = {field.name for field in fields(Recipe)} - came_later
    assert said["recipe"].keys() == others | {name}


def test_the_embedding_alone_has_its_own_rate(tmp_path: Path) -> None:
    """A first step of AdamW is as long as the rate, whatever the gradient is."""
    found = {}
    for times in (1e-9, 1.0, 2.0):
        recipe = replace(BASE.recipe, steps=1, warmup_steps=1, embedding_rate=times)
        train(replace(BASE, recipe=recipe), folder := tmp_path / f"{times}")
        found[times] = load_training_state(folder).weights
    still, plain, twice = found.values()
    name = "embedding.weight"
    moved = plain[name] - still[name]
    assert moved.abs().max() > 0.1 * BASE.recipe.learning_rate
    assert torch.allclose(twice[name] - still[name], 2 * moved, rtol=1e-3, atol=1e-7)
    assert all(torch.equal(plain[key], twice[key]) for key in plain if key != name)


def test_a_transformers_embedding_has_the_rate_of_all(tmp_path: Path) -> None:
    found = []
    for times in (1.0, 2.0):
        recipe = replace(BASE_TEXT.recipe, embedding_rate=times)
        config = replace(BASE_TEXT, architecture="transformer", recipe=recipe)
        found.append(result_of(config, tmp_path / f"{times}"))
    assert found[0] == found[1]


def test_torch_compiles_if_the_recipe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(mmfree.training.loop.torch, "compile", lambda f: compiled.append(f) or f)
    train(BASE, tmp_path / "plain")
    assert not compiled
    train(replace(BASE, recipe=replace(BASE.recipe, compile=True)), tmp_path / "compiled")
    assert len(compiled) == 1


def outputs(model: nn.Module) -> list[Any]:
    """Shapes of all parameters, and logits."""
    logits = model(torch.tensor([[1, 2, 3, 1]]))[0]
    return [{name: tensor.shape for name, tensor in model.named_parameters()}, logits.tolist()]


@pytest.mark.parametrize("name", MODEL)
@pytest.mark.parametrize("kind", [MatMulFreeLM, Transformer])
def test_a_field_of_the_model_changes_it(
    kind: Callable[[ModelConfig], nn.Module], name: str
) -> None:
    found = []
    for config in (TINY.model, replace(TINY.model, **{name: MODEL[name]})):
        torch.manual_seed(0)
        found.append(outputs(kind(config)))
    # A Transformer has neither.
    own = ("gate", "token_shift")
    assert (found[0] != found[1]) == (kind is MatMulFreeLM or name not in own)


def test_an_architecture_and_a_tokenizer_are_another_model(tmp_path: Path) -> None:
    plain, other = BASE_TEXT, replace(BASE_TEXT, architecture="transformer")
    model = replace(plain.model, vocab_size=400, head_size=400)
    subword = replace(plain, model=model, subword=bpe().to_dict())
    found = []
    for number, config in enumerate((plain, other, subword)):
        weights = result_of(config, tmp_path / str(number))[0]
        found.append({name: Tensor.size(torch.tensor(value)) for name, value in weights.items()})
    assert found[0].keys() != found[1].keys()
    assert found[0]["embedding.weight"] == (256, 8)
    assert found[2]["embedding.weight"] == (400, 8)


def records(folder: Path) -> Path:
    lines = [json.dumps({"text": f"a {n} b " * 9, "other": f"{n} {n} " * 9}) for n in range(99)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    return folder / "a.jsonl"


def other_text(folder: Path) -> Path:
    (folder / "b.txt").write_text("the cat sees a bird. " * 99)
    return folder / "b.txt"


OPTIONS: dict[str, tuple[RunConfig, Callable[[Path], dict[str, Any]], Callable[[Path], Any]]] = {
    "data": (
        BASE_TEXT,
        lambda folder: {"data": [records(folder)]},
        lambda folder: [other_text(folder)],
    ),
    "field": (BASE_TEXT, lambda folder: {"data": [records(folder)]}, lambda folder: "other"),
    "seed": (BASE, lambda folder: {}, lambda folder: 1),
    "stop_at": (BASE, lambda folder: {}, lambda folder: 2),
    "tensorboard": (BASE, lambda folder: {}, lambda folder: True),
}
"""Config, options of both runs, and the value that one of them has of the option."""


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_the_result(name: str, tmp_path: Path) -> None:
    config, common, value = OPTIONS[name]
    options = common(tmp_path)
    found = [
        result_of(config, tmp_path / "without", **options),
        result_of(config, tmp_path / "with", **options | {name: value(tmp_path)}),
    ]
    assert found[0] != found[1]


def test_a_seed_is_that_of_the_first_weights_too(tmp_path: Path) -> None:
    """After one step of rate 5e-3 / 20 no weight is farther than that from where it began."""
    first = []
    for seed in (0, 1):
        train(BASE, tmp_path / str(seed), seed=seed, stop_at=1)
        first.append(load_training_state(tmp_path / str(seed)).weights)
    assert all(
        float((first[0][name] - weight).abs().max()) > 1e-2
        for name, weight in first[1].items()
        if "bias" not in name
    )
