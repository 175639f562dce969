"""What a person has of a model: a tape, a checkpoint or a run folder, told by what lies there.

Only names are looked at, nothing is read: what a file holds is for those who open it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmfree.errors import InputError
from mmfree.shipped import COMES_ALONG, shipped_tape

TAPE_NAME, CONFIG_NAME, CHECKPOINT_NAME = "model.tape", "config.json", "checkpoint"
"""In a run folder a tape and a folder with a checkpoint; in a checkpoint its config."""

_VERILOG_NAMES = ("design.json", "mmfree.v")
"""In a folder of ``mmfree verilog``, beside the tape."""

WANTED = "a tape, a checkpoint folder or a run folder"


@dataclass(frozen=True, kw_only=True)
class Place:
    """What there is of a model at ``path``: a ``tape``, a ``checkpoint`` folder, or both.

    ``run``: whether it is a run folder, which may have both.
    """

    path: Path
    tape: Path | None = None
    checkpoint: Path | None = None
    run: bool = False


def find_model(path: Path) -> Place:
    """What there is of a model at ``path``, or of that which comes with mmfree by this name.

    A file is a tape. A folder with a config.json is a checkpoint. Any other folder may hold a
    model.tape, a folder checkpoint, or both, as a demo leaves them.

    Raises
    ------
    InputError
        If there is nothing, or no model in it.
    """
    if not path.is_dir():
        if path.exists():
            return Place(path=path, tape=path)
        if (shipped := shipped_tape(path)) is not None:
            return Place(path=path, tape=shipped)
        raise InputError(f"{path}: no such file or folder; give {WANTED}, or {COMES_ALONG}")
    checkpoint = training_of(path)
    if checkpoint == path:
        return Place(path=path, checkpoint=path)
    tape = path / TAPE_NAME
    found = Place(path=path, tape=tape if tape.is_file() else None, checkpoint=checkpoint, run=True)
    if found.tape is None and found.checkpoint is None:
        raise InputError(
            f"{path}: no model in this folder, neither {CONFIG_NAME} nor {TAPE_NAME} nor"
            f" {CHECKPOINT_NAME}/{CONFIG_NAME}; give {WANTED}"
        )
    return found


def holds_verilog(path: Path) -> bool:
    """Whether ``path`` is a folder that ``mmfree verilog`` wrote, if only part of one."""
    return any((path / name).is_file() for name in _VERILOG_NAMES)


def training_of(path: Path) -> Path | None:
    """The folder of the checkpoint that is or lies at ``path``; None if there is none.

    It knows what it was trained on; a tape does not.
    """
    folders = (path, path / CHECKPOINT_NAME)
    return next((folder for folder in folders if (folder / CONFIG_NAME).is_file()), None)


def tape_of(path: Path) -> Path | None:
    """The tape that is or lies at ``path``; None where there is only a checkpoint to make it of.

    Raises what ``find_model`` does.
    """
    return find_model(path).tape


def checkpoint_of(path: Path) -> Path:
    """The folder of the checkpoint that is or lies at ``path``.

    Raises
    ------
    InputError
        If there is none, or what ``find_model`` raises.
    """
    found = find_model(path)
    if found.checkpoint is None:
        raise InputError(
            f"{path}: not a checkpoint folder, nor is there one in it; give the folder that"
            " `mmfree train` wrote"
        )
    return found.checkpoint
