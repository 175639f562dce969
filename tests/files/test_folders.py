"""Folders are whole or not there; a replacement keeps what is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
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
    names: dict[int, str] = {}

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


WRITER = """
import itertools, os, shutil, sys
from pathlib import Path
from mmfree.files.folders import FolderKind, new_folder

STEPS = {f"os.{name}" for name in "remove rmdir rename mkdir link symlink truncate".split()}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
place, how = Path(sys.argv[1]), sys.argv[2]

def write(root, stop):
    # In a process of its own. Python tells its hooks of every step before it is taken.
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    taken = itertools.count()
    def step(event, arguments):
        if event in STEPS or event == "open" and arguments[2] & WRITES:
            if next(taken) == stop:
                os.write(1, f"{event}\\n".encode())
                if how == "killed":
                    os._exit(9)
                raise KeyboardInterrupt
    kind = FolderKind.of("last", "a", "b", "c", "d", "e")
    sys.addaudithook(step)
    try:
        with new_folder(root / "out", kind, force=True) as folder:
            for name in ("last", "a", "e"):
                (folder / name).write_text(f"new {name}")
    except KeyboardInterrupt:
        os._exit(9)
    os._exit(0)

for stop in range(100):
    stopped, again = place / f"stopped-{stop}", place / f"again-{stop}"
    shutil.copytree(place / "old", stopped, symlinks=True)
    if write(stopped, stop) == 0:
        stopped.rename(place / "whole")
        break
    shutil.copytree(stopped, again, symlinks=True)
    assert write(again, None) == 0
"""
"""Writes into copies of the folder ``old``, stopped before each step of the file system in turn
(``stopped-N``), then run again (``again-N``), until no step is left (``whole``). Says the steps.
"""

OLD: dict[str, str | None] = {
    **{f"out/{name}": f"old {name}" for name in ("last", "a", "b", ".b.partial", ".last.partial")},
    **dict.fromkeys(("out/c", "out/c/deep"), None),
    **{f"out/c/{name}": "old" for name in ("one", "deep/two")},
}
"""A finished folder: path -> text, None for a folder; it has more of its own than the new one."""

OTHERS: dict[str, str | None] = {
    **dict.fromkeys(("out", "out/theirs", "elsewhere"), None),
    **{name: f"{name} stays" for name in ("out/mine", "out/.mine.partial", "elsewhere/b")},
    "out/theirs/b": "theirs",
}
LEFT: dict[str, str | None] = {
    ".out.new": None,
    ".out.new/last": "half",
    ".out.new/b": "half",
    ".out.lock": "99999",
}
"""What a killed process leaves."""


def tree(root: Path) -> dict[str, str | None]:
    """All that lies in a folder."""
    return {
        str(path.relative_to(root)): (
            f"-> {os.readlink(path)}"
            if path.is_symlink()
            else path.read_text()
            if path.is_file()
            else None
        )
        for path in root.rglob("*")
    }


THERE: dict[str, dict[str, str | None]] = {
    "finished": OLD | OTHERS,
    "finished, then stopped": OLD | OTHERS | LEFT,
    "empty": {"out": None},
    "none": {},
    "none, but stopped": LEFT,
}


@pytest.mark.parametrize("how", ["killed", "interrupted"])
@pytest.mark.parametrize("there", THERE)
def test_a_write_that_stops_at_any_step_leaves_an_old_folder_a_new_one_or_an_unfinished_one(
    there: str, how: str, tmp_path: Path
) -> None:
    """Other people's files stay; the next write is as if the first had never been."""
    (tmp_path / "old").mkdir()
    for name, text in sorted(THERE[there].items()):
        if text is None:
            (tmp_path / "old" / name).mkdir()
        else:
            (tmp_path / "old" / name).write_text(text)
    if "out/last" in THERE[there]:
        # Of our own, and surplus; what it leads to is not.
        (tmp_path / "old" / "out" / "d").symlink_to("../elsewhere")
    old = tree(tmp_path / "old")
    words = [sys.executable, "-c", WRITER, str(tmp_path), how]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
    steps = said.split()
    others = {name: text for name, text in old.items() if name in OTHERS}
    new = {"out": None} | {f"out/{name}": f"new {name}" for name in ("last", "a", "e")}
    whole = tree(tmp_path / "whole")
    assert whole == others | new

    def out_of(folder: dict[str, str | None]) -> dict[str, str | None]:
        return {name: text for name, text in folder.items() if name.startswith("out")}

    ends = {"old": 0, "new": 0, "unfinished": 0}
    for number, step in enumerate(steps):
        found = tree(tmp_path / f"stopped-{number}")
        assert others.items() <= found.items(), step
        if out_of(found) == out_of(old):
            ends["old"] += 1
        elif out_of(found) == out_of(whole):
            ends["new"] += 1
        else:
            assert "out/last" not in found, f"looks finished before step {number}, {step}"
            assert "out" in old, "a new folder appears whole"
            ends["unfinished"] += 1
        assert tree(tmp_path / f"again-{number}") == whole, step
    assert ends["old"] >= 5, "the lock, the new folder and its files"
    assert ends["new"] >= 1, "the lock"
    assert ends["unfinished"] >= (8 if "out/last" in old else 0)
    assert {"open", "os.mkdir", "os.rename", "os.remove"} <= set(steps)


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
