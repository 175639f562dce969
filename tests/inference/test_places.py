"""What a person has of a model: a tape, a checkpoint, a run folder, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmfree.errors import InputError
from mmfree.inference.places import (
    Place,
    checkpoint_of,
    find_model,
    holds_verilog,
    tape_of,
    training_of,
)


def lay(folder: Path, *names: str) -> Path:
    """A folder with empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_file_is_a_tape(tmp_path: Path) -> None:
    path = lay(tmp_path, "any.name") / "any.name"
    assert find_model(path) == Place(path=path, tape=path)
    assert tape_of(path) == path
    assert training_of(path) is None


def test_a_folder_with_a_config_is_a_checkpoint_whatever_else_lies_there(tmp_path: Path) -> None:
    """A tape that was exported into it may be of an earlier step."""
    lay(tmp_path, "config.json", "model.tape", "checkpoint/config.json")
    assert find_model(tmp_path) == Place(path=tmp_path, checkpoint=tmp_path)
    assert tape_of(tmp_path) is None
    assert checkpoint_of(tmp_path) == training_of(tmp_path) == tmp_path


@pytest.mark.parametrize(("tape", "checkpoint"), [(True, True), (True, False), (False, True)])
def test_a_run_folder_has_a_tape_or_a_checkpoint_or_both(
    tape: bool, checkpoint: bool, tmp_path: Path
) -> None:
    lay(tmp_path, *["model.tape"] * tape, *["checkpoint/config.json"] * checkpoint)
    assert find_model(tmp_path) == Place(
        path=tmp_path,
        tape=tmp_path / "model.tape" if tape else None,
        checkpoint=tmp_path / "checkpoint" if checkpoint else None,
        run=True,
    )
    assert training_of(tmp_path) == (tmp_path / "checkpoint" if checkpoint else None)
    if checkpoint:
        assert checkpoint_of(tmp_path) == tmp_path / "checkpoint"
    else:
        with pytest.raises(InputError, match="not a checkpoint folder, nor is there one in it; g"):
            checkpoint_of(tmp_path)


def test_what_holds_no_model_is_refused_by_name(tmp_path: Path) -> None:
    lay(tmp_path, "notes.txt", "a.tape", "checkpoint/model.safetensors")
    wanted = "give a tape, a checkpoint folder or a run folder$"
    other = f"{wanted[:-1]}, or stories, which comes with mmfree$"
    with pytest.raises(InputError, match=f"nowhere: no such file or folder; {other}"):
        find_model(tmp_path / "nowhere")
    message = "no model in this folder, neither config.json nor model.tape nor checkpoint/config"
    with pytest.raises(InputError, match=f"{tmp_path}: {message}.json; {wanted}"):
        find_model(tmp_path)
    with pytest.raises(InputError, match=r"a\.tape: not a checkpoint folder, nor is"):
        checkpoint_of(tmp_path / "a.tape")
    assert training_of(tmp_path) is None


def test_a_folder_of_verilog_is_told_by_any_of_its_own_files(tmp_path: Path) -> None:
    """Half of one must not be taken for a run folder, whose tape would be played instead."""
    lay(tmp_path, "model.tape")
    assert not holds_verilog(tmp_path)
    for name in ("design.json", "mmfree.v"):
        assert holds_verilog(lay(tmp_path / name.partition(".")[2], "model.tape", name))
    assert not holds_verilog(tmp_path / "model.tape")


def test_to_look_costs_nothing() -> None:
    """Before anything is known to be there, nothing slow is imported."""
    code = "import mmfree.inference.places, sys; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not {"numpy", "torch", "amaranth"} & set(output.stdout.decode().split())
