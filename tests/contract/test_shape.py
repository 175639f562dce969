"""Model configuration: ranges, JSON, derived sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.files.atomic import read_json
from mmfree.training.presets import addition_model, text_model

TINY = {
    "vocab_size": 7,
    "head_size": 5,
    "hidden_size": 3,
    "intermediate_size": 4,
    "num_layers": 2,
    "gate": "sigmoid",
}


def test_config_survives_json() -> None:
    config = ModelConfig(**TINY)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_gate_defaults_to_hard() -> None:
    data = {key: value for key, value in TINY.items() if key != "gate"}
    assert ModelConfig.from_dict(data).gate == "hard"


def test_derived_sizes_follow_from_the_shape() -> None:
    config = ModelConfig(**TINY)
    assert config.num_ternary_weights == 2 * (4 * 3 * 3 + 3 * 4 * 3) + 5 * 3
    assert config.num_parameters == config.num_ternary_weights + 7 * 3 + 2 * 3
    assert config.num_state_words == 6


def test_addition_preset_has_the_published_size() -> None:
    assert addition_model().num_parameters == 84_672
    assert addition_model("sigmoid").gate == "sigmoid"


def test_text_preset_is_over_bytes() -> None:
    assert (text_model().vocab_size, text_model().head_size) == (256, 256)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("head_size", -1),
        ("hidden_size", 65536),
        ("intermediate_size", 1.5),
        ("num_layers", True),
    ],
)
def test_sizes_out_of_range_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{field} must be an integer in 1.."):
        ModelConfig.from_dict({**TINY, field: value})


def test_unknown_gate_is_refused() -> None:
    with pytest.raises(InputError, match="gate must be one of sigmoid, hard, signed, got 'tanh'"):
        ModelConfig.from_dict({**TINY, "gate": "tanh"})


def test_errors_name_the_source() -> None:
    with pytest.raises(InputError, match=r"a\.json: expected a JSON object, got list"):
        ModelConfig.from_dict([], source="a.json")
    with pytest.raises(InputError, match=r"a\.json: unknown field 'depth'"):
        ModelConfig.from_dict({**TINY, "depth": 3}, source="a.json")
    with pytest.raises(InputError, match=r"a\.json: missing field 'head_size'"):
        ModelConfig.from_dict({k: v for k, v in TINY.items() if k != "head_size"}, "a.json")


def test_read_json_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "missing.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: not valid JSON"):
        read_json(bad)
