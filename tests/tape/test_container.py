"""The container of tapes: one writing of a manifest, fields in parts, a digest in blocks."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.tape import container
from mmfree.tape.container import (
    INT24,
    Field,
    TapeError,
    TapeFile,
    TapeWriter,
    canonical_json,
    from_24_bits,
    name_errors,
    to_24_bits,
)
from mmfree.tape.reading import open_tape

FIELDS = (Field("a", "<i2", (2, 3)), Field("b", INT24, (2,)), Field("c", "u1", (5,)))
A = np.arange(-3, 3, dtype=np.int16).reshape(3, 2).T
B = np.array([-1 << 23, (1 << 23) - 1], dtype=np.int32)
C = np.arange(5, dtype=np.uint8)
WRITTEN = bytes.fromhex("fdff ffff 0100 feff 0000 0200 000080 ffff7f 0001020304")


def written(*parts: tuple[str, np.ndarray], version: int = 7) -> tuple[bytes, TapeWriter]:
    file = BytesIO()
    writer = TapeWriter(file, version, b"{}", FIELDS)
    for name, array in parts:
        writer.write(name, array)
    writer.finish()
    return file.getvalue(), writer


def test_a_manifest_has_one_writing() -> None:
    """Keys in their order, no blanks, ASCII."""
    manifest = {"b": [1, 2.5, None], "a": {"z": "é", "y": True}}
    text = b'{"a":{"y":true,"z":"\\u00e9"},"b":[1,2.5,null]}'
    assert canonical_json(manifest) == canonical_json(dict(reversed(manifest.items()))) == text


def test_fields_lie_one_after_another_in_their_own_order_of_bytes() -> None:
    """An array that lies in memory by columns, too."""
    assert not A.flags.c_contiguous
    data, writer = written(("a", A), ("b", B), ("c", C))
    body = b"MMFTAPE\0" + bytes([7, 0, 0, 0, 2, 0, 0, 0]) + b"{}" + WRITTEN
    assert data == body + hashlib.sha256(body).digest()
    assert (writer.bytes, writer.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert [field.num_bytes for field in FIELDS] == [12, 6, 5]
    assert Field("wide", "<i4", (1 << 20, 1 << 12)).num_bytes == 1 << 34
    file = TapeFile(lambda: BytesIO(data), 7)
    file.place(FIELDS)
    for name, array in (("c", C), ("a", A), ("b", B)):
        found = file.array(name)
        assert np.array_equal(found, array)
        assert found.dtype == array.dtype
    assert (file.num_bytes, file.sha256) == (len(data), writer.sha256)
    assert file.manifest == {}


def test_a_field_in_parts_is_the_field() -> None:
    whole, _ = written(("a", A), ("b", B), ("c", C))
    parts, _ = written(("a", A[:1]), ("a", A[1:]), ("b", B), ("c", C[:4]), ("c", C[4:]))
    assert parts == whole


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([("b", B)], "a is next, not b"),
        ([("a", A), ("a", A)], "b is next, not a"),
        ([("a", np.zeros((3, 3), np.int16))], "a: 18 bytes, 12 left"),
        ([("a", A[:1]), ("a", A)], "a: 12 bytes, 6 left"),
        ([("a", A[:0])], "a: 0 bytes, 12 left"),
        ([("a", A), ("b", B)], "the tape is not complete"),
        ([("a", A), ("b", B.astype(np.int64))], "int64"),
        ([("a", A), ("b", B), ("c", C[:3])], "the last field lacks 2 bytes"),
    ],
)
def test_another_order_or_size_is_a_bug(parts: list[Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        written(*parts)


def test_an_array_of_another_type_is_a_bug() -> None:
    with pytest.raises(TypeError, match="Cannot cast"):
        written(("a", A.astype(np.int32)))


@pytest.mark.parametrize("block", [1, 7, 16, 41, 1000])
def test_the_digest_is_taken_over_all_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_HASH_BYTES", block)
    data, writer = written(("a", A), ("b", B), ("c", C))
    assert TapeFile(lambda: BytesIO(data), 7).sha256 == writer.sha256
    for damaged in (data[:-1], data + b"\0", data[:20], b"".join((data[:30], b"\xff", data[31:]))):
        with pytest.raises(TapeError, match="checksum mismatch: the tape is truncated or altered"):
            TapeFile(lambda data=damaged: BytesIO(data), 7)  # type: ignore[misc]


def test_versions_that_are_read_are_named(tmp_path: Path) -> None:
    data, _ = written(("a", A), ("b", B), ("c", C), version=3)
    (tmp_path / "a.tape").write_bytes(data)
    message = r"a\.tape: tape version 3, but this mmfree reads 1 and 2: export the model again"
    with pytest.raises(TapeError, match=message):
        open_tape(tmp_path / "a.tape")


def test_places_are_named_from_the_outside_in() -> None:
    with (
        pytest.raises(TapeError, match=r"^file: matrix: byte 3$"),
        name_errors("file"),
        name_errors("matrix"),
    ):
        raise TapeError("byte 3")


def test_24_bits_keep_their_sign_and_no_more() -> None:
    assert to_24_bits(np.array([1, -2], dtype=np.int32)) == b"\1\0\0\xfe\xff\xff"
    found = from_24_bits(b"\xff\xff\x7f\0\0\x80")
    assert found.tolist() == [(1 << 23) - 1, -(1 << 23)]
    assert found.dtype == np.int32
