"""Files are whole or as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmfree.errors import InputError
from mmfree.files.atomic import new_folder, write_atomically


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"


def test_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    with new_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert os.listdir(out.parent) == ["folder"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_folder_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    (out / "mine").write_text("mine")
    with pytest.raises(InputError, match="exists already; --force overwrites it"), new_folder(out):
        pass
    with new_folder(out, force=True) as folder:
        (folder / "a").write_text("new")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"a": "new", "mine": "mine"}
    with pytest.raises(InputError, match="not a folder"), new_folder(out / "a", force=True):
        pass
    assert os.listdir(tmp_path) == ["out"]
