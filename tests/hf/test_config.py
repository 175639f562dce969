"""The config of a Hugging Face folder: every field survives, and bad ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
from transformers import AutoConfig

from mmfree.contract.shape import ModelConfig
from mmfree.hf import MatMulFreeConfig
from mmfree.training.presets import text_model

MODEL = ModelConfig(
    vocab_size=31, head_size=10, hidden_size=20, intermediate_size=28, num_layers=3, gate="signed"
)


def test_a_saved_config_is_the_same(tmp_path: Path) -> None:
    config = MatMulFreeConfig(
        mode="float",
        recipe={"task": "text", "steps": 3},
        tokenizer={"kind": "bytes"},
        bos_token_id=0,
        **MODEL.to_dict(),
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is MatMulFreeConfig
    assert loaded.model_config() == MODEL
    assert (loaded.mode, loaded.recipe, loaded.tokenizer, loaded.bos_token_id) == (
        "float",
        config.recipe,
        {"kind": "bytes"},
        0,
    )
    assert loaded.num_hidden_layers == loaded.num_layers == 3, "the name that transformers uses"


def test_defaults_are_the_text_preset_in_the_chips_arithmetic() -> None:
    config = MatMulFreeConfig()
    assert config.model_config() == text_model()
    assert config.mode == "fakequant"
    assert MatMulFreeConfig(num_hidden_layers=5).num_layers == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "train"}, "mode must be one of fakequant, float, got 'train'"),
        ({"hidden_size": 0}, "hidden_size must be an integer in 1..65535, got 0"),
        ({"gate": "soft"}, "gate must be one of sigmoid, hard, signed, got 'soft'"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings must be false"),
        ({"recipe": ["text"]}, r"recipe must be an object, got \['text'\]"),
        ({"tokenizer": "bytes"}, "tokenizer must be an object, got 'bytes'"),
        ({"hiden_size": 12}, "there is no hiden_size; is hidden_size meant"),
        ({"num_layer": 2}, "there is no num_layer; is num_layers meant"),
        ({"eos_token": 2}, "there is no eos_token; is eos_token_id meant"),
        ({"eos_token_id": 256}, r"eos_token_id must lie in 0\.\.255, got 256"),
        ({"eos_token_id": [10, -1]}, r"eos_token_id must lie in 0\.\.255, got -1"),
        ({"eos_token_id": "\n"}, r"eos_token_id must lie in 0\.\.255, got '\\n'"),
        ({"bos_token_id": 300}, r"bos_token_id must lie in 0\.\.255, got 300"),
        ({"bos_token_id": [0]}, r"bos_token_id must be one token id, got \[0\]"),
    ],
)
def test_bad_fields_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MatMulFreeConfig(**values)


def test_names_that_are_not_ours_are_kept() -> None:
    config = MatMulFreeConfig(num_labels=3, model_size="tiny", eos_token_id=[10, 0])
    assert (config.num_labels, config.model_size) == (3, "tiny")
    assert config.eos_token_id == [10, 0]


def test_what_is_given_is_what_is_held() -> None:
    """Also after it went through its own JSON."""
    config = MatMulFreeConfig(
        mode="float",
        recipe={"b": 1, "a": 2},
        tokenizer={"kind": "bytes"},
        bos_token_id=3,
        eos_token_id=4,
        pad_token_id=5,
        **MODEL.to_dict(),
    )
    for found in (config, MatMulFreeConfig(**config.to_dict())):
        assert (found.mode, list(found.recipe or {})) == ("float", ["b", "a"])
        assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (3, 4, 5)
        assert found.tie_word_embeddings is False
        assert found.model_config() == MODEL
    config.hidden_size = 0
    with pytest.raises(InputError, match=r"hidden_size must be an integer in 1\.\.65535, got 0"):
        config.model_config()
