"""Bytes of files: decompressed, of pipes as often as they are asked for, never half of them."""

from __future__ import annotations

import gzip
import os
import socket
import tempfile
from pathlib import Path

import pytest

from mmfree.errors import InputError
from mmfree.files.streams import count_bytes, is_pipe, open_bytes, suffix_within
from tests.support.files import COMPRESS, fifo

DATA = "".join(f"line {number}: naïve 東京\n" for number in range(5000)).encode()


EVERY = pytest.mark.parametrize("suffix", COMPRESS)


def contents(path: Path) -> bytes:
    with open_bytes(path) as file:
        return file.read()


@EVERY
@pytest.mark.parametrize("parts", [1, 2])
def test_a_compressed_file_gives_what_was_compressed(
    suffix: str, parts: int, tmp_path: Path
) -> None:
    """Also one of several parts, as they come of joined files."""
    path = tmp_path / f"a.txt{suffix.upper()}"
    path.write_bytes(COMPRESS[suffix](DATA) * parts)
    assert contents(path) == DATA * parts
    assert count_bytes(path) == len(DATA) * parts
    with open_bytes(path) as file:
        assert [file.readline(), file.readline(3), file.read(4)] == [
            b"line 0: na\xc3\xafve \xe6\x9d\xb1\xe4\xba\xac\n",
            b"lin",
            b"e 1:",
        ]


@EVERY
@pytest.mark.parametrize("kept", [1, 3, 0.5, -1])
def test_a_file_that_is_cut_off_is_named(suffix: str, kept: float, tmp_path: Path) -> None:
    path, data = tmp_path / f"a.txt{suffix}", COMPRESS[suffix](DATA)
    path.write_bytes(data[: int(len(data) * kept) if kept == 0.5 else int(kept)])
    message = rf"a\.txt{suffix}: damaged, cut off, or no \w+ file: .*; get it again"
    with pytest.raises(InputError, match=message):
        contents(path)
    with pytest.raises(InputError, match=message):
        count_bytes(path)


@EVERY
def test_a_file_that_is_not_what_its_name_says_is_named(suffix: str, tmp_path: Path) -> None:
    for data in (DATA, COMPRESS[suffix](DATA) + b"and more that is none"):
        (tmp_path / f"a{suffix}").write_bytes(data)
        with pytest.raises(InputError, match=rf"a{suffix}: damaged, cut off, or no \w+ file"):
            contents(tmp_path / f"a{suffix}")


def test_a_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    """Wherever: what gzip's decoder does not notice its checksum does."""
    data, path, reasons = gzip.compress(DATA), tmp_path / "a.gz", []
    for place in range(0, len(data), len(data) // 16):
        path.write_bytes(data[:place] + bytes(byte ^ 0xA5 for byte in data[place:]))
        with pytest.raises(
            InputError, match=r"a\.gz: damaged, cut off, or no gzip file: "
        ) as error:
            contents(path)
        reasons.append(str(error.value))
    assert any("Error -3 while decompressing" in reason for reason in reasons)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.gz: cannot be read: No such file"):
        contents(tmp_path / "none.gz")
    (tmp_path / "folder.gz").mkdir()
    with pytest.raises(InputError, match=r"folder\.gz: cannot be read: Is a directory"):
        contents(tmp_path / "folder.gz")


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_a_pipe_gives_the_same_each_time(suffix: str, tmp_path: Path) -> None:
    data = COMPRESS[suffix](DATA) if suffix else DATA
    path = fifo(tmp_path / f"pipe.txt{suffix}", data)
    assert is_pipe(path)
    assert count_bytes(path) == len(DATA)
    assert contents(path) == contents(path) == DATA
    with open_bytes(path) as one, open_bytes(path) as other:
        assert one.read(10) == other.read(10) == DATA[:10]
        assert one.read() == other.read() == DATA[10:]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_what_comes_compressed_through_a_pipe_is_known_by_its_first_bytes(
    suffix: str, tmp_path: Path
) -> None:
    """As through standard input, whose name says nothing; a file is what its name says."""
    assert contents(fifo(tmp_path / "pipe", COMPRESS[suffix](DATA))) == DATA
    (tmp_path / "file").write_bytes(COMPRESS[suffix](DATA))
    assert contents(tmp_path / "file") == COMPRESS[suffix](DATA)


def test_a_pipe_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = fifo(tmp_path / "pipe", gzip.compress(DATA)[:-5])
    with pytest.raises(InputError, match=r"pipe: damaged, cut off, or no text file: .*; get it ag"):
        contents(path)


def test_another_pipe_in_its_place_is_another(tmp_path: Path) -> None:
    assert contents(fifo(tmp_path / "pipe", b"one")) == b"one"
    (tmp_path / "pipe").rename(tmp_path / "old")
    assert contents(fifo(tmp_path / "pipe", b"two")) == b"two"


def test_one_of_several_processes_reads_no_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would get a part of it."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="pipe: a pipe can be read by one process, but WORLD_SIZE"):
        contents(tmp_path / "pipe")


def test_a_pipe_without_room_for_its_copy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: SIM115
    with pytest.raises(InputError, match="pipe: the pipe cannot be copied to a temporary file: No"):
        contents(fifo(tmp_path / "pipe", DATA))


def test_a_socket_is_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # its path has at most 100 characters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
        assert is_pipe(Path("socket"))
    with pytest.raises(InputError, match="socket: the pipe cannot be copied"):
        contents(Path("socket"))


def test_suffixes_within() -> None:
    names = ("a.txt", "a.JSONL.GZ", "a.gz", "a.b.json.zst", "a", ".gz", "a.tar.gz")
    found = [suffix_within(Path(name)) for name in names]
    assert found == [".txt", ".jsonl", "", ".json", "", "", ".tar"]
