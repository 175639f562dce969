"""Shapes by name, and of whatever a person has of a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from mmfree.cli.main import main
from mmfree.contract.shape import AbsmaxConfig
from mmfree.errors import InputError
from mmfree.inference.shapes import PUBLISHED, SHAPES, find_shape
from mmfree.shipped import NAMES
from mmfree.tape.pow2 import write_tape
from mmfree.training.presets import PRESETS
from tests.support.integers.absmax_tapes import absmax_tape
from tests.support.models import SMALL_ADDITION, SMALL_TEXT, trained
from tests.support.published_checkpoints import Shape, checkpoint_tensors, write_checkpoint
from tests.support.verbs.case import TEXT_TAPE


def test_the_published_shapes() -> None:
    """Ternary weights and state words as the checkpoints have them, in either arithmetic."""
    assert {
        name: (config.num_ternary_weights, config.num_state_words)
        for name, config in PUBLISHED.items()
    } == {
        "370m": (341_049_344, 24_576),
        "1.3b": (1_298_661_376, 49_152),
        "2.7b": (2_619_473_920, 81_920),
    }
    for name, config in PUBLISHED.items():
        found = find_shape(Path(name.upper()))
        assert (found.name, found.config, found.published) == (name, config, True)
        assert config.vocab_size == config.head_size == 32000
        own = SHAPES[name]
        assert own.num_ternary_weights == config.num_ternary_weights
        assert own.num_state_words == config.num_state_words


def test_a_preset_by_name() -> None:
    for name, preset in PRESETS.items():
        found = find_shape(Path(name))
        due = preset().model
        if name in NAMES:
            # What comes with mmfree has a vocabulary of its own.
            due = replace(due, vocab_size=1024, head_size=1024)
        assert (found.name, found.config, found.published) == (name, due, False)


def test_what_exists_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tape(TEXT_TAPE, Path("370m"))
    assert find_shape(Path("370m")).config == TEXT_TAPE.config


def test_a_tape_and_a_run_folder(tmp_path: Path) -> None:
    write_tape(TEXT_TAPE, tmp_path / "model.tape")
    for path in (tmp_path / "model.tape", tmp_path):
        found = find_shape(path)
        assert (found.name, found.config, found.published) == (str(path), TEXT_TAPE.config, False)


def test_a_checkpoint_is_not_exported(tmp_path: Path) -> None:
    """Its weights are not even there."""
    run = trained(SMALL_ADDITION, tmp_path / "run")
    (run / "model.safetensors").unlink()
    assert find_shape(run).config == SMALL_ADDITION.model


def test_a_published_checkpoint_in_its_own_arithmetic(tmp_path: Path) -> None:
    shape = Shape(vocab_size=40, hidden_size=24, num_layers=2)
    folder = tmp_path / "published"
    write_checkpoint(folder, shape, checkpoint_tensors(shape))
    for path in (folder, folder / "config.json"):
        found = find_shape(path)
        assert found.published
        config = found.config
        assert isinstance(config, AbsmaxConfig)
        assert (config.vocab_size, config.hidden_size, config.num_layers) == (40, 24, 2)
        assert found.name == str(path)


def test_a_tape_of_a_published_checkpoint_has_its_name(tmp_path: Path) -> None:
    """By its sizes; what else its config says is its own."""
    small = replace(PUBLISHED["370m"], hidden_size=8, intermediate_size=8, vocab_size=9)
    tape = absmax_tape(tmp_path, {}, config=replace(small, norm_eps=1e-5, eos_token_id=2))
    assert find_shape(tape.path).name == str(tape.path)
    with mock.patch.dict(PUBLISHED, {"370m": small}):
        found = find_shape(tape.path)
    assert (found.name, found.published, found.config) == ("370m", True, tape.config)


def test_a_config_of_a_model_or_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.json"
    path.write_text(json.dumps(SMALL_TEXT.model.to_dict()))
    assert find_shape(path).config == SMALL_TEXT.model
    path.write_text(json.dumps(SMALL_TEXT.to_dict()))
    assert find_shape(path).config == SMALL_TEXT.model
    assert main(["config", "text", "--width", "1024", "--layers", "3"]) == 0
    path.write_text(capsys.readouterr().out)
    found = find_shape(path).config
    assert (found.hidden_size, found.num_layers, found.vocab_size) == (1024, 3, 256)


def test_a_shape_is_known_by_its_sizes_whatever_its_gate(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    for gate, layers, name in (("hard", 24, "370m"), ("signed", 24, "370m"), ("hard", 23, None)):
        config = replace(SHAPES["370m"], gate=gate, num_layers=layers)
        path.write_text(json.dumps(config.to_dict()))
        found = find_shape(path)
        assert (found.name, found.config) == (name or str(path), config)
        assert not found.published, "it may be trained here"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"my\.json: expected a JSON object, got list"),
        ('{"model": {"gate": "hard"}}', r"my\.json: model: missing field 'head_size'"),
        ('{"vocab_size": 3}', r"my\.json: missing field"),
        ('{"model_type": "hgrn_bit"}', r"my\.json: the config of a published checkpoint: give its"),
        (
            '{"model": {}, "recipe": {}, "architecture": "transformer"}',
            r"my\.json: a transformer, which no accelerator plays",
        ),
    ],
)
def test_what_is_no_shape(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "my.json").write_text(text)
    with pytest.raises(InputError, match=message):
        find_shape(tmp_path / "my.json")


def test_a_transformer_is_refused(tmp_path: Path) -> None:
    config = replace(SMALL_TEXT, architecture="transformer")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    with pytest.raises(InputError, match="a transformer, which no accelerator plays"):
        find_shape(tmp_path)


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^1\.4b: no such file or folder; did you mean 1\.3b\?$"):
        find_shape(Path("1.4b"))
    with pytest.raises(InputError, match=r"^9: no such .*; shapes by name: 370m, 1\.3b, 2\.7b, "):
        find_shape(Path("9"))
