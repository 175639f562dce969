"""Files are whole or as they were, and JSON that cannot be used is one error that says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmfree.errors import InputError
from mmfree.files.atomic import (
    open_atomically,
    parse_json,
    read_json,
    refuse_to_overwrite,
    reserved,
    write_atomically,
)


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file"
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


def test_data_are_on_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them: a crash must not leave the new name on half a file."""
    path, seen = tmp_path / "file", []
    real = os.replace

    def synced(handle: int) -> None:
        seen.append(("synced", os.fstat(handle).st_size))

    def replaced(source: Path, target: Path) -> None:
        seen.append((Path(target).name, Path(source).stat().st_size))
        real(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_atomically(path, b"12345")
    assert seen == [("synced", 5), ("file", 5)]


def test_a_link_to_nothing_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "none")
    with pytest.raises(InputError, match="link: exists already"):
        refuse_to_overwrite(path, force=False)
    refuse_to_overwrite(path, force=True)
    refuse_to_overwrite(tmp_path / "none", force=False)


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "folder", "link"):
        for force in (False, True):
            with pytest.raises(InputError, match=f"{name}: not a file; give another --out"):
                refuse_to_overwrite(tmp_path / name, force)
        with pytest.raises(InputError, match=f"{name}: not a file; give another --out"):
            write_atomically(tmp_path / name, b"data")
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "pipe"]


def test_a_file_is_reserved_against_others(tmp_path: Path) -> None:
    with reserved(tmp_path / "file", force=False):
        assert [file.name for file in tmp_path.iterdir()] == [".file.lock"]
    assert not list(tmp_path.iterdir())


def test_a_reserved_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with reserved(path, force=False):
        write_atomically(path, b"first")
    with (
        pytest.raises(InputError, match="file: exists already; --force overwrites it"),
        reserved(path, force=False),
    ):
        pass
    with reserved(path, force=True):
        write_atomically(path, b"second")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_errors_about_other_files_stay_as_they_are(tmp_path: Path) -> None:
    def copy() -> None:
        with open_atomically(tmp_path / "file") as file:
            file.write((tmp_path / "source").read_bytes())

    with pytest.raises(FileNotFoundError) as caught:
        copy()
    assert caught.value.filename == str(tmp_path / "source")
    assert not list(tmp_path.iterdir())


def test_json_is_read_with_its_largest_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        f'{{"integers": [{2**63 - 1}, -{2**63 - 1}, -0], "floats": [1.5e308, -0.5, 1E-400]}}'
    )
    values = read_json(path)
    assert values == {"integers": [2**63 - 1, 1 - 2**63, 0], "floats": [1.5e308, -0.5, 0.0]}
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path) == [1], "a byte order mark is no part of the text"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", r"not valid JSON: Expecting property name"),
        (b'"\xff"', r"not valid JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 100_000, r"not valid JSON: nested too deeply"),
        (b'{"a":' * 100_000, r"not valid JSON: nested too deeply"),
        (b"1" + b"0" * 18 + b"e9999", r"the number 10{18}e9999 is too large for a float"),
        (b"1" + b"0" * 19 + b"e9999", r"the number 10{19}\.\.\. of 25 characters is too large"),
        (b"1e999", r"not valid JSON: the number 1e999 is too large for a float"),
        (b"-1" + b"0" * 400 + b".5", r"the number -1000000000000000000\.\.\. of 404 characters"),
        (b"9223372036854775808", r"the integer 9223372036854775808 does not fit in 64 bits"),
        (b"-9223372036854775808", r"the integer -9223372036854775808 does not fit in 64 bits"),
        (b"1" + b"0" * 5000, r"the integer 10000000000000000000\.\.\. of 5001 characters does"),
        (b"[NaN]", r"not valid JSON: NaN is not a JSON number; give a finite one"),
        (b"[-Infinity]", r"not valid JSON: -Infinity is not a JSON number"),
    ],
)
def test_json_that_cannot_be_used_is_an_error_with_its_file(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.json: .*{message}"):
        read_json(path)
    with pytest.raises(InputError, match=r"a\.json, line 3: not valid JSON"):
        parse_json(data, "a.json, line 3")


def test_a_missing_json_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")


def test_records_of_other_people_may_hold_any_number() -> None:
    assert parse_json(b"[NaN, 1e999, 1" + b"0" * 40 + b"]", "a", any_number=True)[2] == 10**40
    for data in (b"[" * 100_000, b"1" + b"0" * 5000):
        with pytest.raises(InputError, match="a: not valid JSON"):
            parse_json(data, "a", any_number=True)
