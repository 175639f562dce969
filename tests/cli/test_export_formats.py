"""``mmfree export --format``: every form, its JSON, and one clear line for what cannot be done."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mmfree.cli.main import main
from mmfree.extras import how_to_install
from mmfree.interchange.bitnet import unpack_trits
from tests.support.models import SMALL_TEXT, forget_module, tape_of, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL_TEXT, tmp_path_factory.mktemp("text") / "run")


def export(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["export", *map(str, arguments), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "", "no bar where nobody sees it"
    values: dict[str, Any] = json.loads(captured.out)
    return values


def test_a_hugging_face_folder_and_back(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="extra hf is not installed")
    values = export(capsys, run, "--format", "hf", "--out", tmp_path / "hf")
    assert values == {"folder": str(tmp_path / "hf"), "format": "hf", "sha256": tape_of(run).sha256}
    assert values["sha256"] in (tmp_path / "hf" / "README.md").read_text()
    values = export(capsys, tmp_path / "hf", "--format", "checkpoint", "--out", tmp_path / "back")
    assert values["parameters"] == SMALL_TEXT.model.num_parameters
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (
        run / "model.safetensors"
    ).read_bytes()
    assert main(["export", str(run), "--format", "hf", "--out", str(tmp_path / "other")]) == 0
    assert "AutoModelForCausalLM" in capsys.readouterr().out


def test_packed_trits(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = tape_of(run)
    values = export(capsys, run, "--format", "bitnet", "--out", tmp_path / "bitnet")
    assert (values["sha256"], values["weights"]) == (tape.sha256, tape.num_ternary_weights)
    head = load_file(tmp_path / "bitnet" / "model.safetensors")["head.weight"]
    assert np.array_equal(unpack_trits(head, 256), tape.segments[-1].matrices[0].trits)
    assert main(["export", str(run), "--format", "bitnet", "--out", str(tmp_path / "b")]) == 0
    assert "four to a byte" in capsys.readouterr().out


def test_what_cannot_be_done_is_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="extra hf is not installed")
    out = ["--out", tmp_path / "out"]
    there = tmp_path / "there"
    there.mkdir()
    (there / "mine").touch()
    for arguments, message in [
        ([run, "--format", "checkpoint", *out], "model_type must be 'mmfree', got None"),
        ([run, "--format", "hf", "--allow-saturation", *out], "belong to --format tape"),
        (
            [run, "--format", "bitnet", "--data", run / "config.json", *out],
            "belong to --format tape",
        ),
        ([run, "--format", "hf", "--out", there], "exists already; --force overwrites it"),
        ([run, "--format", "bitnet", "--out", there], "exists already; --force overwrites it"),
        ([run, "--format", "hf", "--out", run / "config.json", "--force"], "not a folder"),
        ([run / "config.json", "--format", "hf", *out], "not a checkpoint folder"),
        (
            [run, "--format", "hf", "--out", run, "--force"],
            "the folder that is read; give another --out",
        ),
        (
            [run, "--format", "bitnet", "--out", run / ".." / run.name, "--force"],
            "the folder that is read",
        ),
    ]:
        assert main(["export", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert message in captured.err
    assert list(tmp_path.iterdir()) == [there]


def test_a_training_run_is_not_written_over(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    assert main(["export", str(run), "--format", "bitnet", "--out", str(other), "--force"]) == 2
    assert "holds a training run, which nothing replaces" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before


def test_the_missing_extra_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("mmfree.hf") or name.partition(".")[0] == "transformers":
            forget_module(monkeypatch, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["export", str(run), "--format", "hf", "--out", str(tmp_path / "out")]) == 2
    assert (
        f"transformers is not installed; `{how_to_install('hf')}` does that"
        in capsys.readouterr().err
    )
    export(capsys, run, "--format", "bitnet", "--out", tmp_path / "bitnet")
