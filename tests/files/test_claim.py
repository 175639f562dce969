"""One process at a time writes to a path; temporary files do not stay, and nobody hears of them."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

import pytest

from mmfree.files.atomic import write_atomically
from mmfree.files.claim import BusyError, beside, claimed, errors_of, open_locked
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
        # By another name, too.
        (tmp_path / "link").symlink_to(tmp_path)
        with claimed(tmp_path / "link" / "out"):
            (tmp_path / "link").unlink()
    assert os.listdir(tmp_path) == ["out"]


def test_a_claim_is_over_when_its_block_ends(tmp_path: Path) -> None:
    """Also when it fails; the next one is a claim again."""

    def fail() -> None:
        with claimed(tmp_path / "out"):
            assert os.listdir(tmp_path) == [".out.lock"]
            assert (tmp_path / ".out.lock").read_text() == str(os.getpid())
            raise KeyError

    for _ in range(2):
        # What a killed process left there is longer than a number.
        (tmp_path / ".out.lock").write_text("9" * 40)
        with pytest.raises(KeyError):
            fail()
        assert not os.listdir(tmp_path)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_where_there_are_no_locks_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a lock that fails for another reason is an error, after which no file is open."""
    before = open_files()
    for number in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):

        def fail(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", fail)
        with claimed(tmp_path / "out"):
            pass
        write_atomically(tmp_path / "file", b"data")

    def deadlock(*_: object) -> None:
        raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK))

    monkeypatch.setattr(fcntl, "flock", deadlock)
    with pytest.raises(OSError, match=os.strerror(errno.EDEADLK)), claimed(tmp_path / "out"):
        pass
    assert open_files() == before


def test_a_file_that_its_last_holder_removed_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening it and locking it."""
    place, real, times = tmp_path / "lock", fcntl.flock, iter((True, True, False))

    def flock(handle: int, how: int) -> None:
        if next(times):
            place.unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    before = open_files()
    handle = open_locked(place, tmp_path / "out")
    assert os.path.samestat(os.fstat(handle), place.stat())
    assert open_files() == before + 1
    os.close(handle)


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught, claimed(tmp_path / "file" / "out"):
        pass
    assert caught.value.filename == str(tmp_path / "file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_errors_of_a_disk_name_the_file_that_was_asked_for(tmp_path: Path, number: int) -> None:
    """Those of writing say no name; any other error without one stays as it is."""
    with (
        pytest.raises(OSError, match=os.strerror(number)) as caught,
        errors_of(tmp_path / "out", tmp_path / "temporary"),
    ):
        raise OSError(number, os.strerror(number))
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "out"))
    error = OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    with (
        pytest.raises(OSError, match="Broken pipe") as caught,
        errors_of(tmp_path / "out", tmp_path / "temporary"),
    ):
        raise error
    assert caught.value is error


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
