"""The container of every tape: prefix, manifest, arrays one after another, digest (docs/tape.md).

What a manifest says and which arrays follow belongs to an arithmetic: ``pow2.py``, ``absmax.py``.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError

MAGIC = b"MMFTAPE\0"
DIGEST_BYTES = 32
INT24 = "int24"
"""Type of a field of three bytes a value, two's complement, the lowest byte first; int32 in
memory."""

_PREFIX = struct.Struct("<8sII")  # magic, version, bytes of the manifest
_HASH_BYTES = 1 << 22


class TapeError(InputError):
    """A tape file or its contents are not valid."""


@dataclass(frozen=True)
class Field:
    """An array on a tape: its name, type (NumPy's, or ``INT24``) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size on the tape."""
        itemsize = 3 if self.dtype == INT24 else np.dtype(self.dtype).itemsize
        return int(np.prod(self.shape, dtype=np.int64)) * itemsize

    def encode(self, array: NDArray[Any]) -> bytes:
        """The array, or a part of it, as it lies on the tape. Its type is the caller's duty."""
        if self.dtype == INT24:
            assert array.dtype == np.int32, f"{self.name} is int32 in memory, not {array.dtype}"
            return to_24_bits(array)
        return np.ascontiguousarray(array).astype(self.dtype, casting="equiv").tobytes()

    def decode(self, data: bytes | memoryview) -> NDArray[Any]:
        """Inverse of ``encode``, for the whole field."""
        if self.dtype == INT24:
            return from_24_bits(data).reshape(self.shape)
        array = np.frombuffer(data, dtype=self.dtype).reshape(self.shape)
        return array.astype(array.dtype.newbyteorder("="), copy=False)


def to_24_bits(values: NDArray[np.int32]) -> bytes:
    """Integers in -2^23..2^23 - 1 as three bytes each, the lowest first."""
    return values.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()


def from_24_bits(data: bytes | memoryview) -> NDArray[np.int32]:
    """Inverse of ``to_24_bits``: int32 [n]."""
    widened = np.zeros((len(data) // 3, 4), dtype=np.uint8)
    widened[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
    values: NDArray[np.int32] = widened.view("<i4")[:, 0].astype(np.int32) >> 8
    return values


def canonical_json(manifest: dict[str, Any]) -> bytes:
    """The one way of writing a manifest."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@contextmanager
def name_errors(place: object) -> Iterator[None]:
    """Put a file, or a place in one, before the message of a TapeError."""
    try:
        yield
    except TapeError as error:
        raise TapeError(f"{place}: {error}") from error


@contextmanager
def manifest_errors() -> Iterator[None]:
    """Whatever a damaged or forged manifest makes fail becomes a TapeError."""
    try:
        yield
    except TapeError:
        raise
    except InputError as error:
        raise TapeError(f"manifest: {error}") from None
    except (KeyError, TypeError, RecursionError, OverflowError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TapeError(f"manifest is malformed: {reason}") from error


class TapeWriter:
    """Writes a tape field by field, in their order, an array at once or in parts.

    ``bytes`` counts what was written; after ``finish``, ``sha256`` is the tape's identity.
    """

    def __init__(
        self, file: BinaryIO, version: int, manifest: bytes, fields: Iterable[Field]
    ) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._fields = iter(fields)
        self._field: Field | None = None
        self._left = 0
        self.sha256, self.bytes = "", 0
        self._put(_PREFIX.pack(MAGIC, version, len(manifest)) + manifest)

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Write a field, or its next part. Names, order and sizes are the caller's invariant."""
        if self._left == 0:
            self._field = next(self._fields)
            self._left = self._field.num_bytes
        assert self._field is not None
        assert self._field.name == name, f"{self._field.name} is next, not {name}"
        data = self._field.encode(array)
        assert 0 < len(data) <= self._left, f"{name}: {len(data)} bytes, {self._left} left"
        self._left -= len(data)
        self._put(data)

    def finish(self) -> None:
        """Write the digest."""
        assert self._left == 0, f"the last field lacks {self._left} bytes"
        assert next(self._fields, None) is None, "the tape is not complete"
        self._put(self._digest.digest())
        self.sha256 = self._digest.hexdigest()

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)
        self.bytes += len(data)


class TapeFile:
    """A tape, opened: its digest holds, its manifest is an object; arrays are read when asked for.

    Parameters
    ----------
    open_file
        Opens the tape's bytes for reading, as often as it is called; once if they are ``held``.
    version
        The one that the caller reads.
    held
        Those bytes, if they are in memory or ``mapped``: arrays of bytes are views of them then.

    Attributes
    ----------
    manifest, manifest_text
        What the tape says of itself.
    sha256, num_bytes
        Identity and size of the whole file.

    Raises
    ------
    TapeError
        If it is no tape or of another version, truncated or altered in any bit, or its manifest is
        malformed.
    """

    def __init__(
        self,
        open_file: Callable[[], AbstractContextManager[BinaryIO]],
        version: int,
        held: memoryview | None = None,
    ) -> None:
        self._open, self._held = open_file, held
        self._places: dict[str, tuple[Field, int]] = {}
        with open_file() as file:
            self.num_bytes = file.seek(0, 2)
            file.seek(0)
            found, manifest_bytes = read_prefix(file)
            if found != version:
                raise version_error(found, (version,))
            self.sha256 = _check_digest(file, self.num_bytes)
            file.seek(_PREFIX.size)
            self.manifest_text = file.read(manifest_bytes)
        self._arrays_at = _PREFIX.size + manifest_bytes
        with manifest_errors():
            manifest = json.loads(self.manifest_text)
            if not isinstance(manifest, dict):
                raise TypeError(f"expected an object, got {type(manifest).__name__}")
        self.manifest: dict[str, Any] = manifest

    def place(self, fields: Iterable[Field]) -> None:
        """Say which arrays follow the manifest; TapeError if they do not fill the file."""
        offset = self._arrays_at
        for field in fields:
            self._places[field.name] = (field, offset)
            offset += field.num_bytes
        if (needed := offset + DIGEST_BYTES) != self.num_bytes:
            raise TapeError(
                f"the manifest asks for {needed} bytes, the file has {self.num_bytes}: cut off, or"
                " of another layout: export the model again"
            )

    def array(self, name: str) -> NDArray[Any]:
        """Read a field."""
        field, offset = self._places[name]
        if self._held is not None:
            part = self._held[offset : offset + field.num_bytes]
            # Wider values must lie where the processor reads them.
            return field.decode(part if field.dtype in ("u1", "i1") else bytes(part))
        with self._open() as file:
            file.seek(offset)
            return field.decode(file.read(field.num_bytes))

    @property
    def data(self) -> bytes:
        """The whole file."""
        if self._held is not None:
            return bytes(self._held)
        with self._open() as file:
            return file.read()

    def let_go(self) -> None:
        """Take mapped pages out of this process's memory until they are read again."""
        held = None if self._held is None else self._held.obj
        if isinstance(held, mmap.mmap) and hasattr(held, "madvise"):
            held.madvise(mmap.MADV_DONTNEED)


def mapped(file: BinaryIO) -> memoryview:
    """The bytes of a file, which stay those that they are when another file takes its place.

    Read where a mapped file could not be replaced.
    """
    if os.name != "posix":
        return memoryview(file.read())
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_prefix(file: BinaryIO) -> tuple[int, int]:
    """Version, and bytes of the manifest; TapeError if the file does not begin like a tape."""
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size or prefix[: len(MAGIC)] != MAGIC:
        raise TapeError("not a tape: it does not begin with MMFTAPE")
    _, version, manifest_bytes = _PREFIX.unpack(prefix)
    return version, manifest_bytes


def _check_digest(file: BinaryIO, size: int) -> str:
    """sha256 of the whole file; TapeError if its own digest does not hold."""
    file.seek(0)
    digest = hashlib.sha256()
    left = size - DIGEST_BYTES
    while left > 0 and (part := file.read(min(left, _HASH_BYTES))):
        digest.update(part)
        left -= len(part)
    end = file.read(DIGEST_BYTES)
    if left or digest.digest() != end:
        raise TapeError(
            "checksum mismatch: the tape is truncated or altered; copy or export it again"
        )
    digest.update(end)
    return digest.hexdigest()


def version_error(version: int, known: Iterable[int]) -> TapeError:
    """What to say of a version that this mmfree does not read."""
    names = " and ".join(map(str, known))
    return TapeError(
        f"tape version {version}, but this mmfree reads {names}: export the model again"
    )
