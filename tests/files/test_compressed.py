"""Compressed data comes back as it was; what is damaged, cut off or too large is not unpacked."""

from __future__ import annotations

import base64
import bz2
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfree.errors import InputError
from mmfree.files import compressed
from mmfree.files.compressed import LARGEST_BYTES, pack_bytes, pack_text, unpack_bytes, unpack_text


@given(st.binary(max_size=300))
def test_data_survives(data: bytes) -> None:
    assert unpack_text(pack_text(data)) == data
    assert unpack_bytes(pack_bytes(data)) == data
    assert zlib.decompress(base64.b64decode(pack_text(data))) == data, "as earlier versions read it"


def test_every_cut_and_every_flipped_byte_is_one_error_or_the_same_data() -> None:
    """bzip2 has bits that nobody reads; zlib's header too."""
    data = bytes(range(256)) * 3
    packed, text = pack_bytes(data), base64.b64decode(pack_text(data))
    for end in range(len(packed)):
        with pytest.raises(InputError, match="cannot be unpacked"):
            unpack_bytes(packed[:end])
    for end in range(len(text)):
        with pytest.raises(InputError, match="cannot be unpacked"):
            unpack_text(base64.b64encode(text[:end]).decode())
    refused = 0
    for place in range(len(packed)):
        try:
            assert (
                unpack_bytes(packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :])
                == data
            )
        except ValueError:
            refused += 1
    for place in range(len(text)):
        damaged = text[:place] + bytes([text[place] ^ 0xFF]) + text[place + 1 :]
        try:
            assert unpack_text(base64.b64encode(damaged).decode()) == data
        except ValueError:
            refused += 1
    assert refused >= len(packed) + len(text) - 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not base64!", "not base64"),
        ("ü", "not base64: .*ASCII"),
        (pack_text(b"a")[:4] + "!" + pack_text(b"a")[4:], "not base64"),
        (pack_text(b"a") + "\n", "not base64"),
        ("AAA", "not base64: .*padding"),
        (base64.b64encode(b"not zlib's").decode(), "cannot be unpacked: Error -3"),
        ("", "cut off"),
        (base64.b64encode(zlib.compress(b"a") + b"b").decode(), "something follows"),
    ],
)
def test_text_that_is_none_of_ours(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unpack_text(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut off"),
        (b"not bzip2's", "cannot be unpacked"),
        (bz2.compress(b"a") + b"b", "something follows"),
    ],
)
def test_bytes_that_are_none_of_ours(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unpack_bytes(data)


def test_a_few_bytes_that_would_become_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stop at the limit; neither fills the memory first (tests/boundaries/files.py has it)."""
    assert LARGEST_BYTES == 64 << 20
    monkeypatch.setattr(compressed, "LARGEST_BYTES", 1 << 16)
    many = bytes(16 << 20)
    packed, text = bz2.compress(many, 9), base64.b64encode(zlib.compress(many, 9)).decode()
    del many
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="cannot be unpacked: more than 65,536 bytes"):
            unpack_bytes(packed)
        with pytest.raises(InputError, match="cannot be unpacked: more than 65,536 bytes"):
            unpack_text(text)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
