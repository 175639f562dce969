"""Checkpoints: whole, or refused by the file's name."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

import mmfree.training.checkpoint
from mmfree.errors import InputError
from mmfree.training.checkpoint import (
    MODEL_NAME,
    CheckpointError,
    build_model,
    load_checkpoint,
    load_training_state,
)
from mmfree.training.recipe import CONFIG_NAME, TOKENIZER_NAME, TRAINING_NAME
from mmfree.training.train import train
from tests.training.test_train import TINY


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    train(TINY, path, stop_at=2)
    return path


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path, dirs_exist_ok=True))


def test_a_folder_holds_what_the_readme_says(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "config.json",
        "metrics.csv",
        "model.safetensors",
        "tokenizer.json",
        "training.json",
        "training.safetensors",
    ]
    assert json.loads((folder / CONFIG_NAME).read_text()) == TINY.to_dict()
    assert json.loads((folder / TOKENIZER_NAME).read_text()) == {"kind": "addition"}
    assert load_checkpoint(folder).config == TINY


def test_moments_are_kept(folder: Path) -> None:
    state = load_training_state(folder)
    assert (state.step, state.steps, state.seed, state.corpus) == (2, 30, 0, "")
    assert set(state.weights) == set(state.moments)
    assert all(float(moments["step"]) == 2 for moments in state.moments.values())


@pytest.mark.parametrize("name", [CONFIG_NAME, MODEL_NAME, TOKENIZER_NAME])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", [CONFIG_NAME, MODEL_NAME, TOKENIZER_NAME])
@pytest.mark.parametrize("size", [0, 7, -1])
def test_a_truncated_file_is_named(folder: Path, name: str, size: int) -> None:
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[: size if size >= 0 else len(data) - 3])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


def test_a_damaged_training_state_is_named(folder: Path) -> None:
    path = folder / TRAINING_NAME
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"training\.safetensors: damaged"):
        load_training_state(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": "x"}, "step is 'x' in its metadata"),
        ({"seed": "-1"}, "seed is '-1' in its metadata"),
        ({"steps": "9" * 5000}, "steps is '9999"),
        ({"step": "31"}, "its metadata say step 31 of 30, begun at 0, 1 processes, sharded 0"),
        ({"processes": "0"}, "its metadata say step 2 of 30, begun at 0, 0 processes"),
        ({"since": "1"}, "its metadata say that losses compare since step 1, replaced 0"),
        ({"began": "3"}, "its metadata say step 2 of 30, begun at 3, 1 processes"),
        ({"sharded": "2"}, "its metadata say step 2 of 30, begun at 0, 1 processes, sharded 2"),
        ({"corpus": None}, "corpus is missing in its metadata"),
        *(
            ({name: None}, f"{name} is missing in its metadata")
            for name in ("step", "steps", "seed")
        ),
        ({"seed": "1" * 20}, "seed is '11111111111111111111' in its metadata"),
        ({"seed": "1 "}, "seed is '1 ' in its metadata"),
        ({"seed": ""}, "seed is '' in its metadata"),
    ],
)
def test_numbers_of_a_training_state_are_checked(
    folder: Path, changes: dict[str, str | None], message: str
) -> None:
    path = folder / TRAINING_NAME
    metadata = {"step": "2", "steps": "30", "seed": "0", "corpus": ""} | changes
    tensors = load(path.read_bytes())
    given = {name: value for name, value in metadata.items() if value is not None}
    path.write_bytes(save(tensors, given))
    with pytest.raises(CheckpointError, match=rf"training\.safetensors: damaged: {message}"):
        load_training_state(folder)


def test_a_training_state_of_another_model_is_refused(folder: Path) -> None:
    path = folder / TRAINING_NAME
    state = load(path.read_bytes())
    metadata = {"step": "2", "steps": "30", "seed": "0", "corpus": ""}
    weight, moment = "weights.head.weight", "moments.head.weight:exp_avg"
    count, extra = "moments.head.weight:step", "moments.head.weight:more"
    cases = {
        r"tensor head\.weight has shape \(10, 13\)": {weight: torch.zeros(10, 13)},
        r"tensor head\.weight of shape \(10, 12\) is missing": {weight: None},
        r"moments of head\.weight must be exp_avg, exp_avg_sq, step, got exp_avg_sq, step": {
            moment: None
        },
        r"exp_avg of head\.weight must hold floats of shape \(10, 12\), got torch\.float32 of": {
            moment: torch.zeros(12, 10)
        },
        r"exp_avg of head\.weight must hold floats of shape \(10, 12\), got torch\.int8 of": {
            moment: torch.zeros((10, 12), dtype=torch.int8)
        },
        r"moment step of head\.weight must hold floats of shape \(\), got torch\.float32 of": {
            count: torch.zeros(10, 12)
        },
        r"moment step of head\.weight must hold floats of shape \(\), got torch\.int64 of": {
            count: torch.tensor(2)
        },
        r"moments of head\.weight must be .*, got exp_avg, exp_avg_sq, more, step": {
            extra: torch.zeros(10, 12)
        },
        r"unexpected tensor other of shape \(2,\)": {"weights.other": torch.zeros(2)},
    }
    for message, changes in cases.items():
        changed = {k: v for k, v in (state | changes).items() if v is not None}
        path.write_bytes(save(changed, metadata))
        with pytest.raises(CheckpointError, match=rf"training\.safetensors: .*{message}"):
            train(TINY, folder, resume=True)


def test_tensors_of_other_kinds_are_refused(folder: Path) -> None:
    path = folder / MODEL_NAME
    tensors = load(path.read_bytes())
    path.write_bytes(save({**tensors, "head.weight": torch.zeros(10, 12, dtype=torch.complex64)}))
    with pytest.raises(
        CheckpointError, match=r"head\.weight must hold floats, got torch\.complex64"
    ):
        load_checkpoint(folder)
    header = b'{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged: .*F8_E8M0"):
        load_checkpoint(folder)


def test_a_config_that_is_no_json_is_named(folder: Path) -> None:
    for name in (CONFIG_NAME, TOKENIZER_NAME):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(b"[" * 100_000)
        with pytest.raises(CheckpointError, match=rf"{name}: not valid JSON: nested too deeply"):
            load_checkpoint(folder)
        (folder / name).write_bytes(before)


def test_a_model_that_memory_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch reports it as RuntimeError, which otherwise is a bug."""

    def fail(message: str) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(
        mmfree.training.checkpoint,
        "MatMulFreeLM",
        lambda _: fail("DefaultCPUAllocator: can't allocate memory"),
    )
    with pytest.raises(InputError, match="needs more memory than this machine has; choose smaller"):
        build_model(TINY)
    monkeypatch.setattr(mmfree.training.checkpoint, "MatMulFreeLM", lambda _: fail("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        build_model(TINY)


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    path = folder / MODEL_NAME
    tensors = load(path.read_bytes())
    name = "head.weight"
    assert name in tensors
    path.write_bytes(save({key: value for key, value in tensors.items() if key != name}))
    with pytest.raises(
        CheckpointError, match=r"tensor head\.weight of shape \(10, 12\) is missing"
    ):
        load_checkpoint(folder)
    path.write_bytes(save({**tensors, "extra": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"unexpected tensor extra of shape \(2,\)"):
        load_checkpoint(folder)
    path.write_bytes(save({**tensors, name: torch.zeros(10, 13)}))
    with pytest.raises(
        CheckpointError, match=r"head\.weight has shape \(10, 13\), the config needs \(10, 12\)"
    ):
        load_checkpoint(folder)


def test_a_config_of_another_shape_is_refused(folder: Path) -> None:
    other = replace(TINY, model=replace(TINY.model, intermediate_size=20))
    (folder / CONFIG_NAME).write_text(json.dumps(other.to_dict()))
    with pytest.raises(CheckpointError, match="the config needs"):
        load_checkpoint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, folder: Path) -> None:
    """Of NaN, ternary weights would be 0, and the model would run."""
    path = folder / MODEL_NAME
    tensors = load(path.read_bytes())
    name = next(name for name in tensors if name.endswith("mixer.i.weight"))
    tensors[name][0, 0] = value
    path.write_bytes(save(tensors))
    with pytest.raises(CheckpointError, match=f"{name} holds values that are not finite"):
        load_checkpoint(folder)


def test_a_state_knows_its_config_by_the_file_of_it(folder: Path) -> None:
    """The same in every version: a run that was begun earlier can be resumed."""
    wanted = hashlib.sha256((folder / CONFIG_NAME).read_bytes()).hexdigest()
    assert load_training_state(folder).config == wanted
    with safe_open(folder / TRAINING_NAME, framework="pt") as file:
        assert file.metadata() == {
            "step": "2",
            "steps": "30",
            "began": "0",
            "since": "0",
            "replaced": "0",
            "seed": "0",
            "processes": "1",
            "sharded": "0",
            "threads": str(torch.get_num_threads()),
            "corpus": "",
            "config": wanted,
            "teacher": "",
            "format": "pt",
        }


def test_a_state_is_missing_by_its_name(folder: Path) -> None:
    (folder / TRAINING_NAME).unlink()
    with pytest.raises(CheckpointError, match=r"training\.safetensors: missing; the checkpoint is"):
        load_training_state(folder)


def test_the_baseline_is_not_evaluated(tmp_path: Path) -> None:
    train(replace(TINY, architecture="transformer"), tmp_path, stop_at=1)
    with pytest.raises(CheckpointError, match="a transformer, the baseline: it can be trained and"):
        load_checkpoint(tmp_path)


def test_weights_of_a_wrapped_model_are_read_and_none_twice(folder: Path) -> None:
    path = folder / MODEL_NAME
    tensors = load(path.read_bytes())
    for wrapper in ("module.", "_orig_mod.", "module._orig_mod."):
        path.write_bytes(save({wrapper + name: tensor for name, tensor in tensors.items()}))
        found = load_checkpoint(folder).model.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    path.write_bytes(save(tensors | {"module.head.weight": tensors["head.weight"].clone()}))
    with pytest.raises(CheckpointError, match="damaged: it holds a tensor twice, once under a wra"):
        load_checkpoint(folder)


def test_a_tokenizer_that_is_none_is_named(folder: Path) -> None:
    (folder / TOKENIZER_NAME).write_text('{"kind": "chess"}')
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: tokenizer: kind must be one of"):
        load_checkpoint(folder)
