"""One process at a time writes to a path; temporary files do not stay, and nobody hears of them."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from mmfree.files.atomic import write_atomically
from mmfree.files.claim import BusyError, beside, claimed
from mmfree.files.folders import FolderKind, new_folder
from tests.support.claims import HOLDERS, another_process

KIND = FolderKind.of("last", "a", "b")


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_second_writer_is_refused_until_the_first_has_gone(tmp_path: Path, holder: str) -> None:
    path = tmp_path / "out"

    def write() -> None:
        if holder == "file":
            write_atomically(path, b"second")
        else:
            with claimed(path):
                pass

    with another_process(path, holder) as first:
        with pytest.raises(BusyError, match=r"out: (process \d+|another process) is writing there"):
            write()
        # By whatever name it goes.
        (tmp_path / "link").symlink_to(tmp_path)
        if holder != "file":
            path = tmp_path / "link" / "sub" / ".." / "out"
            with pytest.raises(BusyError, match=rf"process {first.pid} "):
                write()
        first.send_signal(signal.SIGKILL)
    path = tmp_path / "out"
    # What it left is taken over.
    if holder == "file":
        write_atomically(path, b"second")
        assert path.read_bytes() == b"second"
    else:
        with new_folder(path, KIND) as folder:
            assert not list(folder.iterdir())
            (folder / "last").touch()
        assert [file.name for file in path.iterdir()] == ["last"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "out"]


def test_a_claim_may_be_claimed_again_by_its_own_process(tmp_path: Path) -> None:
    with claimed(tmp_path / "out"), new_folder(tmp_path / "out", KIND) as folder:
        (folder / "last").touch()
        first = [name for name in os.listdir(tmp_path) if name.endswith(".lock")]
        assert first == [".out.lock"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_full_disk_names_what_the_user_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(tmp_path / "sub" / "file", b"data")
    assert caught.value.filename == str(tmp_path / "sub" / "file")

    def write() -> None:
        with new_folder(tmp_path / "out", KIND) as folder:
            (folder / "a" / "none").write_text("")

    with pytest.raises(FileNotFoundError) as caught:
        write()
    assert caught.value.filename == str(tmp_path / "out" / "a" / "none")
    assert os.listdir(tmp_path) == ["sub"]


def test_a_forbidden_folder_names_what_the_user_asked_for() -> None:
    # A folder in which nobody may make anything, the system's owner included.
    for path in (Path("/proc/file"), Path("/proc/none/out")):
        with pytest.raises(FileNotFoundError) as caught:
            write_atomically(path, b"")
        assert str(caught.value.filename) in (str(path), str(path.parent))
        with pytest.raises(FileNotFoundError) as caught, new_folder(path, KIND):
            pass
        assert str(caught.value.filename) in (str(path), str(path.parent))


def test_folders_that_were_made_for_nothing_go(tmp_path: Path) -> None:
    with claimed(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not list(tmp_path.iterdir())
    with claimed(tmp_path / "a" / "b" / "out"):
        (tmp_path / "a" / "b" / "out").touch()
    assert (tmp_path / "a" / "b" / "out").exists()


def test_in_a_place_whose_own_folder_may_not_be_written_all_lies_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mounted disk is; nothing of it counts as a file of the user's, and nothing stays."""
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with new_folder(out, KIND) as folder:
        assert folder.parent == out
        assert sorted(path.name for path in out.iterdir()) == [".out.lock", ".out.new"]
        (folder / "last").touch()
    assert [path.name for path in out.iterdir()] == ["last"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_on_another_disk_all_lies_within() -> None:
    disk = Path("/proc")
    assert disk.stat().st_dev != disk.parent.stat().st_dev
    assert beside(disk, "new") == disk / ".proc.new"
    assert beside(disk / "none", "new") == disk / ".none.new"
