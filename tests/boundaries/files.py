"""Boundaries of files: numbers of JSON, sizes of records and of compressed data."""

from __future__ import annotations

import bz2
import zlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from mmfree.files import compressed, records
from mmfree.files.atomic import parse_json
from tests.support.boundaries import Boundary

ATOMIC, COMPRESSED = "mmfree/files/atomic.py", "mmfree/files/compressed.py"


def parse(text: str) -> None:
    parse_json(text.encode(), "a.json")


def small(run: Callable[[int], object]) -> Callable[[int], object]:
    """With at most 100 bytes to pack and to unpack."""

    def limited(size: int) -> object:
        with mock.patch.object(compressed, "LARGEST_BYTES", 100):
            return run(size)

    return limited


def unpack_zlib(size: int) -> bytes:
    return compressed.unpack_text(b64encode(zlib.compress(bytes(size))).decode())


def read(reader: str, text: str, folder: Path) -> list[object]:
    """The records of a file, of at most 8 characters each, read one by one at first."""
    (folder / "a").write_text(text)
    with mock.patch.multiple(records, LARGEST_RECORD=8, _BLOCK_BYTES=1):
        return list(getattr(records, reader)(folder / "a"))


ROWS: list[Boundary] = [
    *(
        Boundary(
            file=ATOMIC,
            compares=compares,
            allowed=lambda _, text=allowed: parse(text),
            refused=lambda _, text=refused: parse(text),
            says=rf"a\.json: not valid JSON: the integer {refused} does not fit in 64 bits",
        )
        for compares, allowed, refused in (
            ("len(digits) > 20", "-9223372036854775807", "-10000000000000000000"),
            ("abs(int(digits)) > LARGEST_INTEGER", "9223372036854775807", "9223372036854775808"),
            ("abs(int(digits)) > LARGEST_INTEGER", "-9223372036854775807", "-9223372036854775808"),
        )
    ),
    *(
        Boundary(
            file=COMPRESSED,
            compares="len(data) > LARGEST_BYTES",
            allowed=lambda _, pack=pack: small(lambda size: pack(bytes(size)))(100),
            refused=lambda _, pack=pack: small(lambda size: pack(bytes(size)))(101),
            says="has 101 bytes; a model carries at most 100 of a tokenizer",
        )
        for pack in (compressed.pack_text, compressed.pack_bytes)
    ),
    *(
        Boundary(
            file=COMPRESSED,
            compares="len(unpacked) > LARGEST_BYTES",
            allowed=lambda _, unpack=unpack: small(unpack)(100),
            refused=lambda _, unpack=unpack: small(unpack)(101),
            says="cannot be unpacked: more than 100 bytes",
        )
        for unpack in (
            unpack_zlib,
            lambda size: compressed.unpack_bytes(bz2.compress(bytes(size))),
        )
    ),
    Boundary(
        file="mmfree/files/records.py",
        compares="len(line) > LARGEST_RECORD",
        allowed=lambda folder: read("read_jsonl", '"12345"\n1\n', folder),
        refused=lambda folder: read("read_jsonl", '1\n"123456"\n', folder),
        says="line 2: a line has at most 8 bytes",
    ),
    Boundary(
        file="mmfree/files/records.py",
        compares="len(self._text) - self._at > LARGEST_RECORD",
        allowed=lambda folder: read("read_json_records", '"123456"', folder),
        refused=lambda folder: read("read_json_records", '"1234567"', folder),
        says="line 1: not valid JSON: a record has at most 8 characters",
    ),
]
