"""The command line on published checkpoints: export, inspect, play, and the verbs that need an accelerator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmfree.absmax_tape import AbsmaxTape
from mmfree.backends import AbsmaxGoldenBackend, load_backend
from mmfree.cli import main
from mmfree.golden_absmax import AbsmaxGolden
from mmfree.published_export import export_published
from tests.command_line import error_of, run_json
from tests.published_checkpoints import Shape, checkpoint_tensors, write_checkpoint

SHAPE = Shape(vocab_size=256, hidden_size=24, num_layers=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("published") / "model", SHAPE, checkpoint_tensors(SHAPE), shards=2)


@pytest.fixture(scope="module")
def tape(checkpoint: Path) -> Path:
    """A tape whose tokens are bytes, so that text can be played without a trained tokenizer."""
    path = checkpoint.parent / "bytes.tape"
    export_published(checkpoint, path, tokenizer={"kind": "bytes"})
    return path


def test_export_and_inspect(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.tape"
    values = run_json(capsys, "export", checkpoint, "--out", out)
    assert values["bytes"] == out.stat().st_size
    assert values["sha256"] == AbsmaxTape(out).sha256
    assert values["weights"] == 2 * (4 * 24**2 + 3 * 256 * 24) + 256 * 24
    assert 1.6 <= values["bits_per_weight"] < 1.61
    inspected = run_json(capsys, "inspect", out)
    assert inspected["sha256"] == values["sha256"]
    assert inspected["arithmetic"] == "absmax"
    assert (inspected["weights"], inspected["state_words"]) == (values["weights"], 48)
    assert inspected["parameters"] == sum(tensor.numel() for tensor in checkpoint_tensors(SHAPE).values())
    assert [s["name"] for s in inspected["segments"]][:2] == ["layer 0 gates", "layer 0 output"]
    assert inspected["tokenizer"] == {"kind": "none", "bytes": 0}
    assert main(["inspect", str(out)]) == 0
    text = capsys.readouterr().out
    assert "layer 1 down" in text
    assert "absmax arithmetic (a published checkpoint)" in text
    assert "exists already; --force overwrites it" in error_of(capsys, "export", checkpoint, "--out", out)
    assert main(["export", str(checkpoint), "--out", str(out), "--force"]) == 0
    assert values["sha256"] in capsys.readouterr().out


def test_generate_and_evaluate(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = run_json(capsys, "generate", tape, "--prompt", "ab", "--tokens", 5)
    golden = AbsmaxGolden(AbsmaxTape(tape))
    ids = [0, *b"ab"]
    for row in values["ids"]:
        assert row == golden.play(ids)[-1].argmax()
        ids.append(row)
    assert values["backend"] == "golden"
    (tmp_path / "data.txt").write_text("some text to be scored. " * 9)
    result = run_json(capsys, "evaluate", tape, "--data", tmp_path / "data.txt")
    assert result["backend"] == "golden"
    assert 4 < result["bits_per_byte"] < 14, "a random model"


def test_logits_of_the_backend_are_nats(tape: Path) -> None:
    backend = load_backend(tape, None)
    assert isinstance(backend, AbsmaxGoldenBackend)
    ids = np.array([[0, 65, 66], [0, 7, 8]])
    logits, state = backend.run(ids, backend.state(2))
    expected = np.stack([AbsmaxGolden(AbsmaxTape(tape)).play(row) for row in ids])
    assert np.allclose(logits, expected * 2.0**-16, rtol=1e-6)
    assert state.shape == (2, 2, 24)


def test_what_needs_an_accelerator_is_refused(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", tmp_path / "out"]
    for arguments in (
        ["verilog", tape, *out],
        ["build", tape, "--board", "ulx3s-85f", *out],
        ["cosim", tape],
        ["power", tape],
        ["generate", tape, "--prompt", "a", "--backend", "rtl"],
    ):
        assert "absmax arithmetic), which the accelerator does not have yet" in error_of(capsys, *arguments)
    assert "backend float needs the checkpoint folder" in error_of(capsys, "evaluate", tape, "--backend", "float")
    assert "ranges are for models trained here" in error_of(capsys, "evaluate", tape, "--ranges", "--data", __file__)
    assert not (tmp_path / "out").exists()


def test_folders_and_tapes_that_cannot_be_played(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for backend in ("float", "golden", "rtl"):
        message = error_of(capsys, "evaluate", checkpoint, "--backend", backend)
        assert "a published checkpoint of model_type 'hgrn_bit': `mmfree export` makes a tape of it" in message
    export_published(checkpoint, tmp_path / "a.tape")
    message = error_of(capsys, "generate", tmp_path / "a.tape", "--prompt", "a")
    assert "the tape has no tokenizer: put tokenizer.json or tokenizer.model into the checkpoint's folder" in message


@pytest.mark.parametrize(("kind", "message"), [("tokenizers", "no tokenizer.json"), ("sentencepiece", "no SentencePiece model")])
def test_a_tape_whose_tokenizer_is_none_is_one_line(
    kind: str, message: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tape"
    export_published(checkpoint, path, tokenizer={"kind": kind, "data": b"no such file"})
    found = error_of(capsys, "generate", path, "--prompt", "a")
    assert f"{path}: tokenizer: the data of kind {kind} is damaged: {message}" in found
    assert run_json(capsys, "inspect", path)["tokenizer"] == {"kind": kind, "bytes": AbsmaxTape(path).tokenizer_bytes}


def test_bad_folders_are_one_line(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written."""
    before = sorted(tmp_path.rglob("*"))
    folders: dict[str, str] = {
        json.dumps({"model_type": "bitnet"}): "model_type 'bitnet' cannot become a tape: its attention multiplies",
        json.dumps({"model_type": "hgrn_bit"}): "missing field 'hidden_size'",
        "{": "config.json: not valid JSON",
        (checkpoint / "config.json").read_text(): "neither model.safetensors nor model.safetensors.index.json",
    }
    for number, (config, message) in enumerate(folders.items()):
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        (folder / "config.json").write_text(config)
        assert message in error_of(capsys, "export", folder, "--out", tmp_path / "a.tape")
        (folder / "config.json").unlink()
        folder.rmdir()
    message = "--data and --allow-saturation are for models trained here"
    assert message in error_of(capsys, "export", checkpoint, "--out", tmp_path / "a.tape", "--allow-saturation")
    assert sorted(tmp_path.rglob("*")) == before
