"""Model configuration: ranges, JSON, derived sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmfree.contract.shape import AbsmaxConfig, ModelConfig, segment_name
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
    with pytest.raises(InputError, match=r"^a\.json: config: num_layers must be an integer in 1"):
        ModelConfig.from_dict({**TINY, "num_layers": 0}, source="a.json")
    with pytest.raises(InputError, match=r"a\.json: missing field 'head_size'"):
        ModelConfig.from_dict({k: v for k, v in TINY.items() if k != "head_size"}, "a.json")


SMALL = {"vocab_size": 6, "hidden_size": 5, "intermediate_size": 7, "num_layers": 2}


def test_sizes_of_a_published_shape_worked_by_hand() -> None:
    config = AbsmaxConfig(**SMALL)
    # i, f, g and o; gate and up; down; head.
    assert config.num_ternary_weights == 2 * (4 * 25 + 14 * 5 + 5 * 7) + 6 * 5
    # Beside them the embedding, a lower bound per channel, and gains: attn_norm, g_norm, mlp_norm,
    # own norms of i, f, g, o and gate_up, all of d; of down, of I; of the head and before it.
    gains = 2 * (8 * 5 + 7) + 2 * 5
    assert config.num_parameters == config.num_ternary_weights + 6 * 5 + 2 * 5 + gains
    assert (config.num_state_words, config.head_size) == (10, 6)
    assert list(config.segments())[3:] == [
        ("down", 0, 5, 7),
        ("gates", 1, 5, 5),
        ("output", 1, 5, 5),
        ("glu", 1, 14, 5),
        ("down", 1, 5, 7),
        ("head", None, 6, 5),
    ]
    assert [segment_name(*shape[:2]) for shape in config.segments()][-2:] == [
        *("layer 1 down", "head")
    ]


@pytest.mark.parametrize(
    ("given", "kept", "ids"),
    [
        (None, None, ()),
        (0, 0, (0,)),
        (5, 5, (5,)),
        ((), None, ()),
        ([4], 4, (4,)),
        ([5, 0, 3, 0], (0, 3, 5), (0, 3, 5)),
        ((2, 2), 2, (2,)),
    ],
)
def test_ids_that_end_a_text_have_one_writing(
    given: object, kept: object, ids: tuple[int, ...]
) -> None:
    config = AbsmaxConfig(**SMALL, eos_token_id=given, bos_token_id=0)  # type: ignore[arg-type]
    assert (config.eos_token_id, config.end_ids) == (kept, ids)
    values = config.to_dict()
    assert values == {
        **SMALL,
        "norm_eps": 1e-6,
        "bos_token_id": 0,
        "eos_token_id": list(kept) if isinstance(kept, tuple) else kept,
    }
    assert list(values)[:2] == ["vocab_size", "hidden_size"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("bos_token_id", value) for value in (6, -1, True, 2.0, (2,))),
        *(("eos_token_id", value) for value in (6, -1, False, "2", [2, 6], (0, -1), [[2]])),
    ],
)
def test_ids_outside_the_vocabulary_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"config: {field} must be null.* in 0\.\.5.*, got "):
        AbsmaxConfig(**SMALL, **{field: value})  # type: ignore[arg-type]


def test_an_epsilon_is_a_float() -> None:
    with pytest.raises(InputError, match=r"norm_eps must be a number in .*, got 1$"):
        AbsmaxConfig(**SMALL, norm_eps=1)


def test_read_json_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "missing.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: not valid JSON"):
        read_json(bad)
