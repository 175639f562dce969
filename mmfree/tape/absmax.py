"""Tapes of published checkpoints (version 2 of docs/tape.md).

Written field by field, read field by field, so that a model never has to be in memory whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import (
    CONSTANT_BITS,
    DEFAULT_ABSMAX_FORMATS,
    ROLES_BY_KIND,
    SIGMOID_ENTRIES,
    SIGMOID_FB,
    WITHOUT_NORM,
    AbsmaxFormats,
)
from mmfree.contract.shape import AbsmaxConfig
from mmfree.files.atomic import open_atomically
from mmfree.tape.pow2 import (
    ABSMAX_VERSION,
    DIGEST_BYTES,
    MAGIC,
    PREFIX,
    TRITS_PER_BYTE,
    TapeError,
    unpack_trits,
)
from mmfree.tape.tokenizer_section import section_bytes, tokenizer_of_section, tokenizer_section

INT24 = "int24"
"""Type of a field of three bytes a value, two's complement, the lowest byte first.

Int32 in memory.
"""

GAIN_FB_RANGE = (-14, 38)
CONSTANT_EXPONENT_RANGE = (-64, 16)
EMBEDDING_FB_RANGE = (11, 40)
_HASH_BYTES = 1 << 22
_ZEROS_OF_CODE = np.array(
    [sum(code // 3**j % 3 == 1 for j in range(TRITS_PER_BYTE)) for code in range(256)]
)


@dataclass(frozen=True)
class Field:
    """An array on the tape: its name, type (NumPy's, or ``INT24``) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size on the tape."""
        itemsize = 3 if self.dtype == INT24 else np.dtype(self.dtype).itemsize
        return int(np.prod(self.shape, dtype=np.int64)) * itemsize

    def encode(self, array: NDArray[Any]) -> bytes:
        """The array, or a part of it, as it lies on the tape.

        Its type is an invariant of the caller.
        """
        if self.dtype == INT24:
            assert array.dtype == np.int32
            return to_24_bits(array)
        return np.ascontiguousarray(array).astype(self.dtype, casting="equiv").tobytes()

    def decode(self, data: bytes) -> NDArray[Any]:
        """Inverse of ``encode``, for the whole field."""
        if self.dtype == INT24:
            return from_24_bits(data).reshape(self.shape)
        array = np.frombuffer(data, dtype=self.dtype).reshape(self.shape)
        return array.astype(array.dtype.newbyteorder("="), copy=False)


def tape_fields(config: AbsmaxConfig, tokenizer_bytes: int = 0) -> Iterator[Field]:
    """Every array behind the manifest, in order (docs/tape.md, version 2).

    ``tokenizer_bytes``: size of the tokenizer's section, 0 for none.
    """
    d = config.hidden_size
    if tokenizer_bytes:
        yield Field("tokenizer", "u1", (tokenizer_bytes,))
    yield Field("sigmoid", "<i4", (SIGMOID_ENTRIES,))
    yield Field("embedding/scale", "<u2", (config.vocab_size,))
    yield Field("embedding/rows", "i1", (config.vocab_size, d))
    yield Field("lower_bounds", INT24, (config.num_layers, d))
    for kind, layer, rows, fan_in in config.segments():
        prefix = segment_name(kind, layer)
        if kind != WITHOUT_NORM:
            yield Field(f"{prefix}/norm_fb", "<i4", (1,))
            yield Field(f"{prefix}/norm", "<i2", (fan_in,))
        for role in ROLES_BY_KIND[kind]:
            yield Field(f"{prefix}/{role}/constants", "<i4", (3,))
            yield Field(f"{prefix}/{role}/gain", INT24, (fan_in,))
            yield Field(f"{prefix}/{role}/trits", "u1", (-(-rows * fan_in // TRITS_PER_BYTE),))


def segment_name(kind: str, layer: int | None) -> str:
    """``layer 3 glu``, or ``head``."""
    return kind if layer is None else f"layer {layer} {kind}"


class TapeWriter:
    """Takes the fields of a tape in their order, an array at once or in parts.

    ``write_absmax_tape`` makes one.
    """

    def __init__(self, file: BinaryIO, config: AbsmaxConfig, tokenizer_bytes: int) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._fields = tape_fields(config, tokenizer_bytes)
        self._field: Field | None = None
        self._left = 0
        self.sha256, self.bytes = "", 0

    def raw(self, data: bytes) -> None:
        """Write bytes, and count them in the digest."""
        self._digest.update(data)
        self._file.write(data)
        self.bytes += len(data)

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Write a field, or its next part.

        Names, order and sizes are an invariant of the caller.
        """
        if self._left == 0:
            self._field = next(self._fields)
            self._left = self._field.num_bytes
        assert self._field is not None
        assert self._field.name == name, f"{self._field.name} is next, not {name}"
        data = self._field.encode(array)
        assert 0 < len(data) <= self._left, f"{name}: {len(data)} bytes, {self._left} left"
        self._left -= len(data)
        self.raw(data)

    def finish(self) -> None:
        """Write the digest."""
        assert self._left == 0
        assert next(self._fields, None) is None, "the tape is not complete"
        digest = self._digest.digest()
        self.raw(digest)
        self.sha256 = self._digest.hexdigest()


@contextmanager
def write_absmax_tape(
    path: Path,
    config: AbsmaxConfig,
    tokenizer: dict[str, Any],
    embedding_fb: int,
    formats: AbsmaxFormats = DEFAULT_ABSMAX_FORMATS,
) -> Iterator[TapeWriter]:
    """A writer, past manifest and tokenizer, whose file is renamed to ``path`` when the block ends,
    if every field was written; after an exception nothing is left behind.

    ``tokenizer``: {"kind"}, and "data", the contents of its file, for a subword tokenizer.
    """
    entry, section = tokenizer_section(tokenizer)
    text = _manifest(config, formats, entry, embedding_fb)
    with open_atomically(path) as file:
        writer = TapeWriter(file, config, len(section))
        writer.raw(PREFIX.pack(MAGIC, ABSMAX_VERSION, len(text)) + text)
        if section:
            writer.write("tokenizer", np.frombuffer(section, dtype=np.uint8))
        yield writer
        writer.finish()


def _manifest(
    config: AbsmaxConfig, formats: AbsmaxFormats, tokenizer: Any, embedding_fb: Any
) -> bytes:
    manifest = {
        "arithmetic": "absmax",
        "config": config.to_dict(),
        "formats": asdict(formats),
        "tokenizer": tokenizer,
        "embedding_fb": embedding_fb,
    }
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass(frozen=True)
class Gain:
    """A vector of gains.

    ``values`` int32 [n], of 16 or 24 bits, stand for values * 2^-fraction_bits.
    """

    values: NDArray[np.int32]
    fraction_bits: int


@dataclass(frozen=True)
class AbsmaxMatrix:
    """One ternary matrix, still on the tape, with the constants of its use.

    Mantissa * 2^exponent = mean |W| * sqrt(fan_in) / 127.
    """

    tape: AbsmaxTape
    segment: str
    role: str
    rows: int
    fan_in: int
    gain: Gain
    mantissa: int
    exponent: int

    def trits(self) -> NDArray[np.int8]:
        """Decode: int8 [rows, fan_in] of -1, 0, +1. TapeError if the codes are not valid."""
        try:
            return unpack_trits(self._codes().tobytes(), (self.rows, self.fan_in))
        except TapeError as error:
            raise TapeError(
                f"{self.tape.path}: {self.segment}, matrix {self.role}: {error}"
            ) from None

    def _codes(self) -> NDArray[np.uint8]:
        return self.tape.array(f"{self.segment}/{self.role}/trits")

    @property
    def absmean(self) -> float:
        """The scale that the trits are multiplied by: mean |W|."""
        return float(self.mantissa * 2.0**self.exponent * 127 / self.fan_in**0.5)

    def zeros(self) -> float:
        """Share of zero weights, counted on the codes."""
        counts = np.bincount(self._codes(), minlength=256)
        padding = -self.rows * self.fan_in % TRITS_PER_BYTE
        return float((int((counts * _ZEROS_OF_CODE).sum()) - padding) / (self.rows * self.fan_in))


@dataclass(frozen=True)
class AbsmaxSegment:
    """The matrices that read one vector.

    ``norm``: gains of the norm before their own norms, None for down.
    """

    kind: str
    layer: int | None
    norm: Gain | None
    matrices: tuple[AbsmaxMatrix, ...]

    @property
    def name(self) -> str:
        """As in the names of fields."""
        return segment_name(self.kind, self.layer)

    @property
    def fan_in(self) -> int:
        """Length of the vector."""
        return self.matrices[0].fan_in


class AbsmaxTape:
    """A version 2 tape on disk.

    Opening checks digest, manifest and sizes; arrays are read when they are asked for.

    Raises
    ------
    TapeError
        If the file is no such tape, truncated, altered, or its contents are out of range.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.bytes = path.stat().st_size
            with path.open("rb") as file:
                self.sha256 = _check_digest(file, self.bytes)
                file.seek(0)
                _, _, manifest_bytes = PREFIX.unpack(file.read(PREFIX.size))
                text = file.read(manifest_bytes)
            self._read_manifest(text)
            self._offsets: dict[str, tuple[Field, int]] = {}
            offset = PREFIX.size + manifest_bytes
            for field in tape_fields(self.config, self.tokenizer_bytes):
                self._offsets[field.name] = (field, offset)
                offset += field.num_bytes
            if offset + DIGEST_BYTES != self.bytes:
                raise TapeError(
                    f"the manifest asks for {offset + DIGEST_BYTES} bytes, the file has"
                    f" {self.bytes}: cut off, or of another layout: export the model again"
                )
            self._check_contents()
        except TapeError as error:
            raise TapeError(f"{path}: {error}") from error

    def _read_manifest(self, text: bytes) -> None:
        try:
            manifest = json.loads(text)
            if manifest["arithmetic"] != "absmax":
                raise TapeError(
                    f"manifest: arithmetic must be 'absmax', got {manifest['arithmetic']!r}"
                )
            self.config = AbsmaxConfig(**manifest["config"])
            self.formats = AbsmaxFormats(**manifest["formats"])
            self._tokenizer_entry: dict[str, Any] = manifest["tokenizer"]
            self.embedding_fb: int = manifest["embedding_fb"]
            self.tokenizer_bytes = section_bytes(self._tokenizer_entry)
        except TapeError:
            raise
        except (
            KeyError,
            TypeError,
            RecursionError,
            UnicodeDecodeError,
            json.JSONDecodeError,
        ) as error:
            raise TapeError(f"manifest is malformed: {type(error).__name__}: {error}") from error
        except ValueError as error:
            raise TapeError(f"manifest: {error}") from None
        if _manifest(self.config, self.formats, self._tokenizer_entry, self.embedding_fb) != text:
            raise TapeError("not canonical: writing its manifest again gives other bytes")
        low, high = EMBEDDING_FB_RANGE
        if type(self.embedding_fb) is not int or not low <= self.embedding_fb <= high:
            raise TapeError(f"embedding_fb must lie in {low}..{high}, got {self.embedding_fb!r}")

    def _check_contents(self) -> None:
        section = self.array("tokenizer").tobytes() if self.tokenizer_bytes else b""
        try:
            self.tokenizer = tokenizer_of_section(self._tokenizer_entry, section)
        except ValueError as error:
            raise TapeError(str(error)) from None
        bounds = self.array("lower_bounds")
        for bound in (int(bounds.min()), int(bounds.max())):
            _check_range("lower_bounds:", bound, (0, 1 << self.formats.forget_fb))
        sigmoid = self.array("sigmoid")
        if sigmoid.min() < 0 or sigmoid.max() > 1 << SIGMOID_FB:
            raise TapeError(f"sigmoid: entries must lie in 0..{1 << SIGMOID_FB}")
        for segment in self.segments:
            gains = [matrix.gain for matrix in segment.matrices]
            for gain in gains if segment.norm is None else [segment.norm, *gains]:
                _check_range(
                    f"{segment.name}: fraction bits of a gain", gain.fraction_bits, GAIN_FB_RANGE
                )
            for matrix in segment.matrices:
                name = f"{segment.name}, matrix {matrix.role}"
                low = 1 << (CONSTANT_BITS - 1)
                _check_range(f"{name}: mantissa", matrix.mantissa, (low, 2 * low - 1))
                _check_range(f"{name}: exponent", matrix.exponent, CONSTANT_EXPONENT_RANGE)

    def array(self, name: str) -> NDArray[Any]:
        """Read a field."""
        field, offset = self._offsets[name]
        with self.path.open("rb") as file:
            file.seek(offset)
            return field.decode(file.read(field.num_bytes))

    @cached_property
    def segments(self) -> tuple[AbsmaxSegment, ...]:
        """Every segment with its gains and constants, in the order of use.

        The trits stay on the tape.
        """
        return tuple(self._segment(*shape) for shape in self.config.segments())

    def _segment(self, kind: str, layer: int | None, rows: int, fan_in: int) -> AbsmaxSegment:
        prefix = segment_name(kind, layer)
        norm = None
        if kind != WITHOUT_NORM:
            norm = Gain(
                self.array(f"{prefix}/norm").astype(np.int32),
                int(self.array(f"{prefix}/norm_fb")[0]),
            )
        matrices = []
        for role in ROLES_BY_KIND[kind]:
            gain_fb, mantissa, exponent = (int(v) for v in self.array(f"{prefix}/{role}/constants"))
            gain = Gain(self.array(f"{prefix}/{role}/gain"), gain_fb)
            matrices.append(
                AbsmaxMatrix(self, prefix, role, rows, fan_in, gain, mantissa, exponent)
            )
        return AbsmaxSegment(kind, layer, norm, tuple(matrices))

    @property
    def num_ternary_weights(self) -> int:
        """Ternary weights read per token, without padding."""
        return self.config.num_ternary_weights

    @property
    def trit_bytes(self) -> int:
        """Bytes of all matrices."""
        return sum(
            field.num_bytes for name, (field, _) in self._offsets.items() if name.endswith("/trits")
        )


def to_24_bits(values: NDArray[np.int32]) -> bytes:
    """Integers in -2^23..2^23 - 1 as three bytes each, the lowest first."""
    return values.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()


def from_24_bits(data: bytes) -> NDArray[np.int32]:
    """Inverse of ``to_24_bits``: int32 [n]."""
    widened = np.zeros((len(data) // 3, 4), dtype=np.uint8)
    widened[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
    values: NDArray[np.int32] = widened.view("<i4")[:, 0].astype(np.int32) >> 8
    return values


def _check_range(name: str, value: int, limits: tuple[int, int]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise TapeError(f"{name} must lie in {limits[0]}..{limits[1]}, got {value}")


def _check_digest(file: BinaryIO, size: int) -> str:
    """Sha256 of the whole file.

    TapeError if it is no version 2 tape or its digest does not hold.
    """
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size or prefix[: len(MAGIC)] != MAGIC:
        raise TapeError("not a tape: it does not begin with MMFTAPE")
    _, version, _ = PREFIX.unpack(prefix)
    if version != ABSMAX_VERSION:
        raise TapeError(f"tape version {version}, not {ABSMAX_VERSION}")
    digest = hashlib.sha256(prefix)
    left = size - PREFIX.size - DIGEST_BYTES
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
