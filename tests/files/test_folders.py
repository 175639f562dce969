"""Folders are whole or not there; a replacement keeps what is not ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mmfree.errors import InputError
from mmfree.files.folders import FolderKind, new_folder

KIND = FolderKind.of("last", "a", "b")


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    with new_folder(out, KIND) as folder:
        (folder / "last").write_text("1")
        assert not out.exists()
    assert (out / "last").read_text() == "1"
    assert os.listdir(out.parent) == ["folder"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "out", KIND) as folder:
            (folder / "last").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_folder_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "last").write_text("old")
    (out / "mine").write_text("mine")
    with (
        pytest.raises(InputError, match="exists already; --force overwrites it"),
        new_folder(out, KIND),
    ):
        pass
    with new_folder(out, KIND, force=True) as folder:
        (folder / "last").write_text("new")
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "last": "new",
        "mine": "mine",
    }
    with (
        pytest.raises(InputError, match="not a folder"),
        new_folder(out / "last", KIND, force=True),
    ):
        pass
    assert os.listdir(tmp_path) == ["out"]


def test_files_are_on_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new folder, and in one that is replaced."""
    seen: list[str] = []
    names = {}

    def fsync(handle: int) -> None:
        seen.append(names[os.fstat(handle).st_ino])

    def moved(source: Path, target: Path, real: Callable[..., None]) -> None:
        seen.append(f"-> {target.name}")
        real(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    for call in ("rename", "replace"):
        monkeypatch.setattr(os, call, partial(moved, real=getattr(os, call)))
    for force in (False, True):
        with new_folder(tmp_path / "out", KIND, force=force) as folder:
            for name in ("last", "a", "b"):
                (folder / name).write_text(name)
                names[(folder / name).stat().st_ino] = name
    assert seen == ["a", "b", "last", "-> out", "a", "b", "last", "-> a", "-> b", "-> last"]


def test_a_link_to_nothing_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "none")
    for force in (False, True):
        with (
            pytest.raises(InputError, match="out: not a folder; give another --out"),
            new_folder(tmp_path / "out", KIND, force=force),
        ):
            pass


def test_old_files_of_ours_go_whatever_they_are(tmp_path: Path) -> None:
    """A folder of that name with all it holds; of a link only itself. A name is no pattern."""
    kind = FolderKind.of("last", "a", "b.c", "d")
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "a" / "deep").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (out / "d").symlink_to(elsewhere)
    for name in ("last", "b.c", "bxc", ".b.c.partial", ".a", "last.partial", "ab.c"):
        (out / name).touch()
    with new_folder(out, kind, force=True) as folder:
        (folder / "last").write_text("new")
    assert sorted(os.listdir(out)) == [".a", "ab.c", "bxc", "last", "last.partial"]
    assert (elsewhere / "kept").exists()


def test_a_folder_appears_only_with_the_file_that_finishes_it(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="last: the file that finishes a folder was not"),
        new_folder(tmp_path / "out", KIND) as folder,
    ):
        (folder / "a").touch()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_appears_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    def write(force: bool) -> None:
        with new_folder(tmp_path / "out", KIND, force=force) as folder:
            (folder / "last").write_text("ours")
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / "last").write_text("theirs")

    with pytest.raises(InputError, match="out: exists already"):
        write(force=False)
    assert (tmp_path / "out" / "last").read_text() == "theirs"
    write(force=True)
    assert (tmp_path / "out" / "last").read_text() == "ours"
    assert os.listdir(tmp_path) == ["out"]


def test_a_replaced_folder_keeps_only_other_peoples_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("last", "b", "mine"):
        (out / name).write_text("old")
    with new_folder(out, KIND, force=True) as folder:
        for name in ("last", "a"):
            (folder / name).write_text("new")
    found = {file.name: file.read_text() for file in out.iterdir()}
    assert found == {"last": "new", "a": "new", "mine": "old"}


def test_a_replacement_that_stops_half_way_does_not_look_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, names, real, left = tmp_path / "out", ("a", "b", "last"), os.replace, 0

    def write(text: str) -> None:
        with new_folder(out, KIND, force=True) as folder:
            for name in names:
                (folder / name).write_text(text)

    for stopped in range(len(names)):
        write("old")
        left = stopped

        def replace(source: Path, target: Path) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            write("new")
        monkeypatch.undo()
        assert not (out / "last").exists()


def test_a_folder_in_the_way_is_named_before_anything_changes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    (out / "last").write_text("old")

    def write() -> None:
        with new_folder(out, KIND, force=True) as folder:
            for name in ("a", "b", "last"):
                (folder / name).write_text("new")

    with pytest.raises(InputError, match="b: a folder in the way of a file; move it away"):
        write()
    assert sorted(path.name for path in out.iterdir()) == ["b", "last"]
    assert (out / "last").read_text() == "old"


def test_half_files_of_ours_do_not_outlive_a_replacement(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("last", ".a.partial", ".mine.partial"):
        (out / name).touch()
    with new_folder(out, KIND, force=True) as folder:
        (folder / "last").touch()
    assert sorted(path.name for path in out.iterdir()) == [".mine.partial", "last"]
