"""Every verb takes a model as people have it: a tape, a checkpoint folder, or a run folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mmfree.cli.main import main
from mmfree.tape.pow2 import write_tape
from tests.support.command_line import error_of, run_json
from tests.support.models import SMALL_ADDITION, tape_of, trained

FORMS = ("tape", "checkpoint", "run", "run without a tape")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model in all forms."""
    folder = tmp_path_factory.mktemp("given")
    checkpoint = trained(SMALL_ADDITION, folder / "checkpoint")
    write_tape(tape_of(checkpoint), folder / "a.tape")
    shutil.copytree(folder / "checkpoint", folder / "run" / "checkpoint")
    shutil.copytree(folder / "run", folder / "bare")
    shutil.copyfile(folder / "a.tape", folder / "run" / "model.tape")
    names = ("a.tape", "checkpoint", "run", "bare")
    return {form: folder / name for form, name in zip(FORMS, names, strict=True)}


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("inspect", []),
        ("generate", ["--prompt", "12+34"]),
        ("evaluate", ["--digits", "2", "--examples", "2"]),
    ],
)
def test_every_form_gives_the_same(
    verb: str, words: list[str], given: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Any] = {form: run_json(capsys, verb, given[form], *words) for form in FORMS}
    players = {form: values.pop("backend", "tape") for form, values in found.items()}
    assert found == dict.fromkeys(FORMS, found["tape"])
    played = ["cpu", "fakequant", "cpu", "fakequant"] if verb != "inspect" else ["tape"] * 4
    assert list(players.values()) == played


@pytest.mark.parametrize("backend", ["fakequant", "golden"])
def test_a_run_folder_is_played_by_torch_and_by_integers(
    backend: str, given: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_json(capsys, "generate", given["run"], "--prompt", "1+2", "--backend", backend)
    assert values["backend"] == backend


@pytest.mark.parametrize("form", ["checkpoint", "run", "run without a tape"])
def test_a_checkpoint_is_exported_wherever_it_lies(
    form: str, given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_json(capsys, "export", given[form], "--out", tmp_path / "b.tape")
    assert (tmp_path / "b.tape").read_bytes() == given["tape"].read_bytes()
    assert values["tape"] == str(tmp_path / "b.tape")
    assert (
        main(["export", str(given[form]), "--format", "bitnet", "--out", str(tmp_path / "b")]) == 0
    )


def test_what_has_no_checkpoint_is_not_exported(
    given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["--format", "hf"]):
        message = error_of(capsys, "export", given["tape"], "--out", tmp_path / "b", *words)
        assert "a.tape: not a checkpoint folder, nor is there one in it; give the" in message


def test_what_is_exported_on_the_way_is_said(
    given: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(given["run without a tape"])]) == 0
    folder = given["run without a tape"] / "checkpoint"
    assert capsys.readouterr().err == f"exporting {folder} to a tape ...\n"
    assert main(["inspect", str(given["run"])]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verb", ["verilog", "build --board ulx3s-85f", "power"])
def test_a_folder_of_verilog_is_not_taken_for_a_model(
    verb: str, given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have been altered, and these would make another one."""
    shutil.copyfile(given["tape"], tmp_path / "model.tape")
    (tmp_path / "mmfree.v").touch()
    name, *words = verb.split()
    message = error_of(capsys, name, tmp_path, *words, "--out", tmp_path / "out")
    assert f"give the tape in it, {tmp_path / 'model.tape'}" in message
