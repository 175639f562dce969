"""Conversion to Hugging Face folders and back: bit for bit, all or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from mmfree.golden.pow2 import Golden
from mmfree.hf import MatMulFreeForCausalLM, to_checkpoint, to_hugging_face
from mmfree.hf.convert import wrap
from mmfree.inference.backends import load_backend, load_tape_or_export
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.training.checkpoint import CheckpointError, load_checkpoint, write_model
from tests.support.models import SMALL_TEXT, trained
from tests.support.subwords import TEXT, bpe

FILES = ("config.json", "model.safetensors", "tokenizer.json")


def test_there_and_back(run: Path, folder: Path, tmp_path: Path) -> None:
    to_checkpoint(folder, tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / "back" / name).read_bytes() == (run / name).read_bytes(), name
    assert load_tape_or_export(tmp_path / "back").sha256 == load_tape_or_export(run).sha256


@pytest.mark.parametrize("gate", ["sigmoid", "signed"])
def test_other_gates(gate: str, tmp_path: Path) -> None:
    run = trained(SMALL_TEXT, tmp_path / "run", gate)
    tape = to_hugging_face(run, tmp_path / "hf", mode="float")
    assert tape is not None
    to_checkpoint(tmp_path / "hf", tmp_path / "back")
    assert load_tape_or_export(tmp_path / "back").sha256 == tape.sha256


def test_a_token_shift(tmp_path: Path) -> None:
    config = replace(SMALL_TEXT, model=replace(SMALL_TEXT.model, token_shift=7))
    tape = to_hugging_face(trained(config, tmp_path / "run"), tmp_path / "hf")
    assert tape is not None
    to_checkpoint(tmp_path / "hf", tmp_path / "back")
    assert load_tape_or_export(tmp_path / "back").sha256 == tape.sha256
    model = MatMulFreeForCausalLM.from_pretrained(tmp_path / "hf").eval()
    ids = torch.arange(1, 25).reshape(2, 12)
    with torch.no_grad():
        whole = model(ids).logits
        first = model(ids[:, :5])
        rest = model(ids[:, 5:], state=first.state).logits
    assert torch.equal(whole, torch.cat([first.logits, rest], dim=1))
    golden = Golden(tape).play(ids[0].numpy())
    assert np.array_equal((whole[0] * 512).numpy(), golden)


def test_addition(addition_run: Path, tmp_path: Path) -> None:
    to_hugging_face(addition_run, tmp_path / "hf")
    to_checkpoint(tmp_path / "hf", tmp_path / "back")
    for name in FILES:
        assert (tmp_path / "back" / name).read_bytes() == (addition_run / name).read_bytes(), name


def test_a_model_trained_on_in_transformers_comes_back(folder: Path, tmp_path: Path) -> None:
    """Nothing but what save_pretrained writes is needed."""
    model = MatMulFreeForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.head.weight.mul_(1.25)
    model.save_pretrained(tmp_path / "tuned")
    to_checkpoint(tmp_path / "tuned", tmp_path / "back")
    weights = load_file(tmp_path / "back" / "model.safetensors")
    assert torch.equal(weights["head.weight"], model.model.head.weight)


WRAPPED = {
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled inside": lambda name: name.replace("model.", "model._orig_mod.", 1),
    "a layer compiled": lambda name: name.replace("layers.0.", "layers.0._orig_mod."),
    "distributed, compiled": lambda name: f"module._orig_mod.{name}",
    "the inner model": lambda name: name.removeprefix("model."),
    "the inner model, compiled": lambda name: f"_orig_mod.{name.removeprefix('model.')}",
}
"""Whose state was saved -> the name that a tensor then has."""


@pytest.mark.parametrize("case", WRAPPED)
def test_names_of_wrappers_are_left_out(case: str, run: Path, folder: Path, tmp_path: Path) -> None:
    source = change_config(folder, tmp_path / "hf")
    weights = load_file(folder / "model.safetensors")
    renamed = {WRAPPED[case](name): tensor for name, tensor in weights.items()}
    save_file(renamed, source / "model.safetensors", {"format": "pt"})
    to_checkpoint(source, tmp_path / "back")
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (
        run / "model.safetensors"
    ).read_bytes()
    # And they do not come back when it is saved again.
    MatMulFreeForCausalLM.from_pretrained(source).save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == weights.keys()


# What torch warns of when it loads its compiler is not ours.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_that_torch_compiled_comes_back(run: Path, folder: Path, tmp_path: Path) -> None:
    model = MatMulFreeForCausalLM.from_pretrained(folder)
    model.model = torch.compile(model.model)
    model.save_pretrained(tmp_path / "hf")
    assert "model._orig_mod.head.weight" in load_file(tmp_path / "hf" / "model.safetensors")
    to_checkpoint(tmp_path / "hf", tmp_path / "back")
    assert load_tape_or_export(tmp_path / "back").sha256 == load_tape_or_export(run).sha256


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_a_checkpoint_of_mmfree_may_hold_such_names(prefix: str, run: Path, tmp_path: Path) -> None:
    bad = change_config(run, tmp_path / "run")
    weights = load_file(run / "model.safetensors")
    renamed = {prefix + name: tensor for name, tensor in weights.items()}
    save_file(renamed, bad / "model.safetensors", {"format": "pt"})
    assert load_tape_or_export(bad).sha256 == load_tape_or_export(run).sha256
    copies = {name: tensor.clone() for name, tensor in weights.items()}
    save_file(copies | renamed, bad / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="it holds a tensor twice"):
        load_tape_or_export(bad)


def change_config(folder: Path, out: Path, **values: Any) -> Path:
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    config = json.loads((out / "config.json").read_text()) | values
    (out / "config.json").write_text(json.dumps(config))
    return out


def change_file(folder: Path, out: Path, name: str, contents: bytes) -> Path:
    change_config(folder, out)
    (out / name).write_bytes(contents)
    return out


def test_bad_folders_are_refused(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases = [
        (run, r"config\.json: model_type must be 'mmfree', got None"),
        (tmp_path, r"config\.json: no such file"),
        (
            change_config(folder, tmp_path / "a", model_type="llama"),
            "model_type must be 'mmfree', got 'llama'",
        ),
        (
            change_config(folder, tmp_path / "b", recipe=None),
            "recipe is missing: set model.config.recipe",
        ),
        (
            change_config(folder, tmp_path / "c", tokenizer={"kind": "words"}),
            r"tokenizer: kind must be 'bytes', got 'words'",
        ),
        (
            change_config(folder, tmp_path / "f", tokenizer=["bytes"]),
            r"config\.json: config: tokenizer must be an object, got \['bytes'\]",
        ),
        (change_config(folder, tmp_path / "g", id2label=3), r"config\.json: "),
        (
            change_config(folder, tmp_path / "h", dtype="no type"),
            r"h/config\.json: |weights cannot",
        ),
        (change_config(folder, tmp_path / "i", vocab_size=10**30), "does not fit in 64 bits"),
        (
            change_file(folder, tmp_path / "j", "model.safetensors", b"no header"),
            "j: the weights cannot be read: ",
        ),
        (change_file(folder, tmp_path / "k", "config.json", b"[" * 100_000), "nested too deeply"),
        (
            change_config(folder, tmp_path / "l", eos_token_id=10),
            r"l/config\.json: eos_token_id is 10, but a text of a checkpoint of mmfree ends with",
        ),
        (
            change_file(
                folder, tmp_path / "m", "generation_config.json", b'{"eos_token_id": [10, 0]}'
            ),
            r"m/generation_config\.json: eos_token_id is \[10, 0\], .* `mmfree generate --stop`",
        ),
        (change_config(folder, tmp_path / "d", recipe={"task": "text"}), "recipe: missing field"),
        (change_config(folder, tmp_path / "e", num_layers=2), r"missing tensor model\.layers\.1\."),
    ]
    before = sorted(tmp_path.iterdir())
    for source, message in cases:
        with pytest.raises(InputError, match=message):
            to_checkpoint(source, out)
    with pytest.raises(
        CheckpointError, match=r"a Hugging Face folder: `mmfree export .* --format checkpoint"
    ):
        to_hugging_face(folder, out)
    assert sorted(tmp_path.iterdir()) == before, "nothing half-written"


def test_nothing_is_overwritten_unasked(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "hf"
    to_hugging_face(run, out)
    (out / "notes.txt").write_text("mine")
    (out / "README.md").write_text("old")
    with pytest.raises(InputError, match="exists already; --force overwrites it"):
        to_hugging_face(run, out)
    assert (out / "README.md").read_text() == "old"
    to_hugging_face(run, out, force=True)
    assert (out / "README.md").read_text().startswith("---")
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_a_checkpoint_is_replaced_when_asked_only(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "back"
    to_checkpoint(folder, out)
    (out / "config.json").write_text("mine")
    with pytest.raises(InputError, match="exists already; --force overwrites it"):
        to_checkpoint(folder, out)
    assert (out / "config.json").read_text() == "mine"
    to_checkpoint(folder, out, force=True)
    assert load_checkpoint(out).config.model == SMALL_TEXT.model


def test_weights_that_cannot_be_exported_still_make_a_folder(run: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in FILES:
        (bad / name).write_bytes((run / name).read_bytes())
    weights = load_file(bad / "model.safetensors")
    weights["head.weight"][:] = 1e9  # finite, but of a scale that no tape has
    save_file(weights, bad / "model.safetensors")
    assert to_hugging_face(bad, tmp_path / "hf") is None
    assert "none was made" in (tmp_path / "hf" / "README.md").read_text()


@pytest.fixture(scope="module")
def subword_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights with a vocabulary of 400."""
    folder = tmp_path_factory.mktemp("subword") / "run"
    folder.mkdir()
    model = replace(SMALL_TEXT.model, vocab_size=400, head_size=400)
    torch.manual_seed(4)
    config = replace(SMALL_TEXT, model=model, subword=bpe().to_dict())
    write_model(folder, config, MatMulFreeLM(model), bpe())
    return folder


@pytest.mark.parametrize("ours", [True, False])
def test_a_trained_tokenizer_goes_there_and_back(
    ours: bool, subword_run: Path, tmp_path: Path
) -> None:
    """Without mmfree's own description, as transformers saves a model, from tokenizer.json."""
    folder = tmp_path / "hf"
    to_hugging_face(subword_run, folder)
    own = folder / "mmfree_tokenizer.json"
    assert json.loads(own.read_text()) == bpe().to_dict()
    config = json.loads((folder / "config.json").read_text())
    assert config["tokenizer"] == {"kind": "tokenizers"}, "its data are not in there twice"
    assert config["bos_token_id"] == config["eos_token_id"] == bpe().start
    ids = bpe().encode(TEXT[:200])
    assert AutoTokenizer.from_pretrained(folder)(TEXT[:200]).input_ids == ids
    if not ours:
        own.unlink()
    to_checkpoint(folder, tmp_path / "back")
    for name in FILES if ours else FILES[1:2]:
        assert (tmp_path / "back" / name).read_bytes() == (subword_run / name).read_bytes(), name
    assert load_backend(tmp_path / "back").tokenizer.encode(TEXT[:200]) == ids


def test_a_wrapped_checkpoint_is_ready_to_run(run: Path) -> None:
    """In the chip's arithmetic unless asked otherwise, and in no training mode."""
    checkpoint = load_checkpoint(run)
    model = wrap(checkpoint)
    assert not model.training
    assert model.config.mode == "fakequant"
    assert wrap(checkpoint, "float").config.mode == "float"
    assert model.config.recipe == checkpoint.config.to_dict()["recipe"]
    assert model.config.tokenizer == {"kind": "bytes"}
    for found in (model.config, model.generation_config):
        assert (found.bos_token_id, found.eos_token_id) == (0, 0)
    weights = checkpoint.model.state_dict()
    assert all(torch.equal(t, weights[name]) for name, t in model.model.state_dict().items())


def test_the_mode_that_is_asked_for_stays_with_the_folder(run: Path, tmp_path: Path) -> None:
    to_hugging_face(run, tmp_path / "hf", mode="float")
    assert MatMulFreeForCausalLM.from_pretrained(tmp_path / "hf").config.mode == "float"
    assert "activations that are not quantized" in (tmp_path / "hf" / "README.md").read_text()


def test_end_tokens_of_the_start_token_or_of_none_come_back(folder: Path, tmp_path: Path) -> None:
    """That of a task, which has none, too."""
    for number, ends in enumerate((0, None)):
        source = change_config(folder, tmp_path / f"{number}", eos_token_id=ends)
        (source / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        to_checkpoint(source, tmp_path / f"back{number}")
