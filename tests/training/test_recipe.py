"""Recipes, presets and CONFIG.json."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mmfree.contract.pow2 import GATES
from mmfree.errors import InputError
from mmfree.text.corpus import python_documentation
from mmfree.text.subword import train_bpe
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.presets import PRESETS, load_run_config
from mmfree.training.recipe import SCHEDULES, RunConfig
from tests.support.subwords import bpe, pieces


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("gate", GATES)
def test_presets_survive_json(name: str, gate: str, tmp_path: Path) -> None:
    config = load_run_config(name, gate)
    assert config.model.gate == gate
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert load_run_config(str(path)) == config


def changed(part: str, **values: Any) -> Any:
    data = load_run_config("addition").to_dict()
    data[part] |= values
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], 'run.json: expected a JSON object with "model" and "recipe"'),
        ({"model": {}}, 'run.json: expected a JSON object with "model" and "recipe"'),
        (
            changed("recipe", task="chess"),
            "task must be one of addition, text, parity, modular-addition, got 'chess'",
        ),
        (changed("recipe", steps=0), "run.json: recipe: steps must be a positive integer, got 0"),
        (changed("recipe", steps=10**13), "recipe: steps must be at most 1000000000000, got"),
        (changed("recipe", length=2**25), "recipe: length must be at most 16777216, got 33554432"),
        (
            changed("recipe", length=2**20, batch_size=2**20),
            "batch_size * length must be at most 268435456, got 1099511627776",
        ),
        (
            changed("recipe", learning_rate=10**400),
            "learning_rate must be a positive number, got 1",
        ),
        (changed("recipe", batch_size=1.5), "batch_size must be a positive integer, got 1.5"),
        (changed("recipe", learning_rate=-1), "learning_rate must be a positive number, got -1"),
        (
            changed("recipe", learning_rate="fast"),
            "learning_rate must be a positive number, got 'fast'",
        ),
        (changed("recipe", clip=float("nan")), "clip must be a positive number, got nan"),
        (changed("recipe", colour="red"), "run.json: recipe: unknown field 'colour'"),
        (changed("model", hidden_size=0), "hidden_size must be an integer in 1..65535, got 0"),
        (
            changed("model", vocab_size=40),
            "task addition needs vocab_size 31 and head_size 10, got 40 and 10",
        ),
        ({**changed("model"), "recipe": 3}, "run.json: recipe: expected a JSON object, got int"),
    ],
)
def test_bad_configs_name_file_and_field(data: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        RunConfig.from_dict(data, "run.json")
    assert message in str(error.value)
    assert str(error.value).startswith(("run.json", "config", "recipe"))


def test_a_missing_field_is_named() -> None:
    data = load_run_config("addition").to_dict()
    del data["recipe"]["steps"]
    with pytest.raises(InputError, match=r"run\.json: recipe: missing field 'steps'"):
        RunConfig.from_dict(data, "run.json")


def test_what_is_neither_preset_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=(
            r"adition: neither a preset \(addition, modular-addition, parity, stories, text\) nor"
            r" a \.json"
            r" file"
        ),
    ):
        load_run_config("adition")
    with pytest.raises(InputError, match="no such file"):
        load_run_config(str(tmp_path / "none.json"))
    for text in ("{", "[" * 100_000, '{"model": {"vocab_size": 1e999}}', "1" * 5000):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad\.json: not valid JSON"):
            load_run_config(str(tmp_path / "bad.json"))


def test_the_gate_of_a_file_is_not_an_option(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(load_run_config("addition").to_dict()))
    with pytest.raises(InputError, match="its gate is hard; change the file, not the option"):
        load_run_config(str(path), "sigmoid")


def subword_config() -> RunConfig:
    text = load_run_config("text")
    return RunConfig(
        model=replace(text.model, vocab_size=400, head_size=400),
        recipe=text.recipe,
        subword=bpe().to_dict(),
    )


def test_a_config_names_its_tokenizers_file_and_sha256(tmp_path: Path) -> None:
    config = subword_config()
    data = config.to_dict()
    assert data["tokenizer"]["file"] == "tokenizer.json"
    (tmp_path / "tokenizer.json").write_text(json.dumps(bpe().to_dict()))
    assert RunConfig.from_dict(data, str(tmp_path / "config.json")) == config
    (tmp_path / "mine.json").write_text(bpe().json)
    by_name = RunConfig.from_dict({**data, "tokenizer": "mine.json"}, str(tmp_path / "config.json"))
    assert by_name.tokenizer.encode("the cat") == config.tokenizer.encode("the cat")
    assert "tokenizer" not in load_run_config("text").to_dict()


def test_a_description_has_one_sha256_whatever_the_order_of_its_keys(tmp_path: Path) -> None:
    """That of its JSON with sorted keys: a config that was written earlier stays valid."""
    packed = bpe().to_dict()["data"]
    text = f'{{"data": "{packed}", "kind": "tokenizers"}}'
    data = subword_config().to_dict()
    assert data["tokenizer"] == {
        "file": "tokenizer.json",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    (tmp_path / "tokenizer.json").write_text(text)
    source = str(tmp_path / "config.json")
    assert RunConfig.from_dict(data, source) == subword_config()
    turned = replace(subword_config(), subword={"data": packed, "kind": "tokenizers"})
    assert turned.to_dict() == data
    # A file alone is enough, and nothing beside these two.
    only = {**data, "tokenizer": {"file": "tokenizer.json"}}
    assert RunConfig.from_dict(only, source) == subword_config()
    for entry in ({"file": "tokenizer.json", "kind": "x"}, {"sha256": "x"}, {"file": 3}, [], None):
        with pytest.raises(InputError, match="tokenizer must be a file name, or"):
            RunConfig.from_dict({**data, "tokenizer": entry}, source)


def test_a_tokenizer_that_is_given_takes_the_place_of_the_named_one() -> None:
    data = subword_config().to_dict() | {"tokenizer": "nowhere.json"}
    assert RunConfig.from_dict(data, tokenizer=bpe()) == subword_config()
    text = load_run_config("text")
    data = text.to_dict() | {"tokenizer": "nowhere.json"}
    assert RunConfig.from_dict(data, tokenizer=ByteTokenizer()) == text


def test_bytes_by_name_are_no_subwords() -> None:
    text = load_run_config("text")
    assert RunConfig.from_dict(text.to_dict() | {"tokenizer": "bytes"}, "config.json") == text


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    data, source = subword_config().to_dict(), str(tmp_path / "config.json")
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file"):
        RunConfig.from_dict(data, source)
    (tmp_path / "tokenizer.json").write_text(json.dumps(pieces().to_dict()))
    with pytest.raises(
        InputError,
        match=r"tokenizer\.json: not the tokenizer of .*config\.json: its sha256 differs",
    ):
        RunConfig.from_dict(data, source)
    with pytest.raises(InputError, match="tokenizer must be a file name, or"):
        RunConfig.from_dict({**data, "tokenizer": 3}, source)
    data["model"]["vocab_size"] = 401
    with pytest.raises(
        InputError,
        match="the tokenizer needs vocab_size 400 and head_size 400, got 401 and 400; change them",
    ):
        RunConfig.from_dict(data, source, tokenizer=bpe())
    addition = load_run_config("addition")
    with pytest.raises(InputError, match="task addition has a tokenizer of its own"):
        replace(addition, subword=bpe().to_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ["text"]}, "task must be one of"),
        ({"schedule": {}}, "schedule must be one of linear, two-phase, got {}"),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16, got 'fp8'"),
        ({"learning_rate": math.inf}, "learning_rate must be a positive number, got inf"),
        ({"accumulate": 0}, "accumulate must be a positive integer, got 0"),
        ({"compile": 1}, "compile must be true or false, got 1"),
        ({"learning_rate": True}, "learning_rate must be a positive number, got True"),
        ({"clip": False}, "clip must be a positive number, got False"),
        ({"steps": True}, "steps must be a positive integer, got True"),
    ],
)
def test_fields_of_a_recipe_are_checked(changes: dict[str, Any], message: str) -> None:
    data = load_run_config("text").to_dict()
    with pytest.raises(InputError, match=message):
        RunConfig.from_dict({**data, "recipe": data["recipe"] | changes})


def test_the_baseline_is_one_word_away() -> None:
    data = load_run_config("text").to_dict()
    assert "architecture" not in data
    baseline = RunConfig.from_dict(data | {"architecture": "transformer"})
    assert RunConfig.from_dict(baseline.to_dict()) == baseline
    with pytest.raises(
        InputError, match=r"architecture must be one of matmul-free, transformer, got \['x'\]"
    ):
        RunConfig.from_dict(data | {"architecture": ["x"]})
    data["model"]["hidden_size"] = 33
    with pytest.raises(
        InputError, match="hidden_size of a transformer must be even, for rotary positions, got 33"
    ):
        RunConfig.from_dict(data | {"architecture": "transformer"})


def test_two_phases_fall_by_half_in_the_middle() -> None:
    schedule = SCHEDULES["two-phase"]
    assert schedule(0) == 1
    assert schedule(0.5) == pytest.approx(schedule(0.5 - 1e-9) / 2)
    assert schedule(1) == pytest.approx(0)
    assert SCHEDULES["linear"](0.25) == 0.75


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[2] / "docs" / "recipes").glob("*.json")),
    ids=lambda path: path.stem,
)
def test_configs_of_the_docs_can_be_trained(path: Path) -> None:
    """Those of subwords with a vocabulary learned for them, as --tokenizer bpe:SIZE learns it."""
    written = json.loads(path.read_text())
    size = written["model"]["vocab_size"]
    learned = (
        None
        if size == ByteTokenizer.vocab_size
        else train_bpe([python_documentation()[:60_000].decode()], size)
    )
    config = load_run_config(str(path), tokenizer=learned)
    assert config.recipe.task == "text"
    read = asdict(config.model), asdict(config.recipe)
    for part, values in zip(("model", "recipe"), read, strict=True):
        assert written[part].items() <= values.items()
