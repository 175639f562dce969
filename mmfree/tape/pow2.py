"""The tape: a model as one canonical file, independent of any design (format: docs/tape.md).

A tape holds everything a backend needs to play the model: configuration, tokenizer data, function
tables, embedding, gate biases and the ternary weights in the order of use. The sha256 of the whole
file is the model's identity.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.pow2 import (
    DEFAULT_FORMATS,
    INT16_MAX,
    LAYER_SEGMENTS,
    MULTIPLIER_MAX,
    MULTIPLIER_MIN,
    ROLES,
    SEGMENT_ROLES,
    SHIFT_BASE_MAX,
    SHIFT_BASE_MIN,
    TABLE_ENTRIES,
    Formats,
)
from mmfree.contract.shape import ModelConfig
from mmfree.contract.tokenizers import SUBWORD_KINDS
from mmfree.errors import InputError
from mmfree.files.atomic import write_atomically
from mmfree.files.compressed import unpack_text

MAGIC = b"MMFTAPE\0"
VERSION = 1
ABSMAX_VERSION = 2
"""Version of the tapes of published checkpoints (``absmax_tape.py``)."""

TRITS_PER_BYTE = 5
PREFIX = struct.Struct("<8sII")  # magic, version, bytes of the manifest
DIGEST_BYTES = 32
_POWERS_OF_3 = np.array([1, 3, 9, 27, 81], dtype=np.uint8)


class TapeError(InputError):
    """A tape file or its contents are not valid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """One ternary matrix with its constants (docs/arithmetic.md, 3 and 7).

    ``trits`` is int8 [rows, fan_in] of -1, 0, +1; ``multiplier`` m_w in 128..256; ``exponent`` a;
    ``bias`` int16 [rows] in the format of z, for role f only.
    """

    role: str
    trits: NDArray[np.int8]
    multiplier: int
    exponent: int
    bias: NDArray[np.int16] | None = None

    @property
    def rows(self) -> int:
        return int(self.trits.shape[0])

    @property
    def fan_in(self) -> int:
        return int(self.trits.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """The group of matrices that read one vector. ``layer`` is None for the head."""

    kind: str
    layer: int | None
    matrices: tuple[Matrix, ...]

    @property
    def fan_in(self) -> int:
        return self.matrices[0].fan_in

    @property
    def name(self) -> str:
        return self.kind if self.layer is None else f"layer {self.layer} {self.kind}"


def segment_shapes(config: ModelConfig) -> Iterator[tuple[str, int | None, int, int]]:
    """Yield (kind, layer, rows of each matrix, fan_in) of every segment, in the order of use."""
    d, i = config.hidden_size, config.intermediate_size
    shapes = {"gates": (d, d), "output": (d, d), "glu": (i, d), "down": (d, i)}
    for layer in range(config.num_layers):
        for kind in LAYER_SEGMENTS:
            yield kind, layer, *shapes[kind]
    yield "head", None, config.head_size, d


@dataclass(frozen=True, kw_only=True, eq=False)
class Tape:
    """A model in integers. Validates itself; raises TapeError naming the field.

    ``embedding`` is int8 [vocab_size, d], shifted up by ``embedding_shift`` when read; the tables
    are int16 [256], entry j for index j - 128.
    """

    config: ModelConfig
    tokenizer: dict[str, Any]
    segments: tuple[Segment, ...]
    embedding: NDArray[np.int8]
    embedding_shift: int
    sigmoid: NDArray[np.int16]
    silu: NDArray[np.int16]
    formats: Formats = field(default=DEFAULT_FORMATS)

    def __post_init__(self) -> None:
        config = self.config
        _check_array("embedding", self.embedding, np.int8, (config.vocab_size, config.hidden_size))
        _check_array("tables.sigmoid", self.sigmoid, np.int16, (TABLE_ENTRIES,))
        _check_array("tables.silu", self.silu, np.int16, (TABLE_ENTRIES,))
        if self.sigmoid.min() < 0 or self.sigmoid.max() > 1 << self.formats.forget_fb:
            raise TapeError(f"tables.sigmoid: entries must lie in 0..{1 << self.formats.forget_fb}")
        if config.gate == "signed" and self.silu.min() < -INT16_MAX:
            raise TapeError(
                f"tables.silu: entries must be at least {-INT16_MAX} with the signed gate, which"
                " negates"
            )
        if type(self.embedding_shift) is not int or not 0 <= self.embedding_shift <= 8:
            raise TapeError(f"embedding_shift must lie in 0..8, got {self.embedding_shift!r}")
        if not isinstance(self.tokenizer, dict):
            raise TapeError(f"tokenizer: expected an object, got {type(self.tokenizer).__name__}")
        if self.tokenizer.get("kind") in SUBWORD_KINDS:
            _check_tokenizer_data(self.tokenizer.get("data"))
        shapes = list(segment_shapes(config))
        if len(shapes) != len(self.segments):
            raise TapeError(f"config asks for {len(shapes)} segments, got {len(self.segments)}")
        for segment, (kind, layer, rows, fan_in) in zip(self.segments, shapes, strict=True):
            if (segment.kind, segment.layer) != (kind, layer):
                raise TapeError(f"segment {segment.name}: expected {kind} of layer {layer} here")
            self._check_segment(segment, rows, fan_in)

    def _check_segment(self, segment: Segment, rows: int, fan_in: int) -> None:
        roles = tuple(matrix.role for matrix in segment.matrices)
        if roles != SEGMENT_ROLES[segment.kind]:
            raise TapeError(
                f"segment {segment.name}: roles {roles}, not {SEGMENT_ROLES[segment.kind]}"
            )
        for matrix in segment.matrices:
            name = f"segment {segment.name}, matrix {matrix.role}"
            _check_array(f"{name}: trits", matrix.trits, np.int8, (rows, fan_in))
            if matrix.trits.min() < -1 or matrix.trits.max() > 1:
                raise TapeError(f"{name}: trits must be -1, 0 or +1")
            for field_name in ("multiplier", "exponent"):
                if type(value := getattr(matrix, field_name)) is not int:
                    raise TapeError(f"{name}: {field_name} must be an integer, got {value!r}")
            if not MULTIPLIER_MIN <= matrix.multiplier <= MULTIPLIER_MAX:
                raise TapeError(f"{name}: multiplier must lie in 128..256, got {matrix.multiplier}")
            base = ROLES[matrix.role].shift_base(matrix.exponent, self.config.gate, self.formats)
            if not SHIFT_BASE_MIN <= base <= SHIFT_BASE_MAX:
                low, high = (
                    matrix.exponent + base - SHIFT_BASE_MAX,
                    matrix.exponent + base - SHIFT_BASE_MIN,
                )
                raise TapeError(
                    f"{name}: exponent must lie in {low}..{high}, got {matrix.exponent}: "
                    "the scale of its weights is out of the range of docs/arithmetic.md, 7"
                )
            if (matrix.role == "f") != (matrix.bias is not None):
                raise TapeError(f"{name}: only f carries a bias, and it must")
            if matrix.bias is not None:
                _check_array(f"{name}: bias", matrix.bias, np.int16, (rows,))

    @cached_property
    def data(self) -> bytes:
        """The file, byte for byte."""
        return _encode(self)

    @cached_property
    def sha256(self) -> str:
        """Identity of the model: sha256 of the whole file, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def num_ternary_weights(self) -> int:
        """Ternary weights read per token, without padding."""
        return sum(m.trits.size for s in self.segments for m in s.matrices)


def _check_tokenizer_data(data: Any) -> None:
    if not isinstance(data, str):
        raise TapeError(f"tokenizer: data must be text, got {type(data).__name__}")
    try:
        unpack_text(data)
    except ValueError as error:
        raise TapeError(f"tokenizer: data is damaged: {error}") from None


def _check_array(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise TapeError(f"{name}: expected {np.dtype(dtype).name} {shape}, got {got}")


def pack_trits(trits: NDArray[np.int8]) -> bytes:
    """Pack trits, row after row, 5 to a byte: sum of (t_j + 1) * 3^j.

    The last byte is filled with zero trits.
    """
    flat = trits.ravel()
    padded = np.zeros(-(-flat.size // TRITS_PER_BYTE) * TRITS_PER_BYTE, dtype=np.int8)
    padded[: flat.size] = flat
    digits = (padded + 1).astype(np.uint8).reshape(-1, TRITS_PER_BYTE)
    return (digits * _POWERS_OF_3).sum(axis=1, dtype=np.uint8).tobytes()


def unpack_trits(data: bytes, shape: tuple[int, int]) -> NDArray[np.int8]:
    """Inverse of pack_trits; TapeError for a byte that is no code or a pad that is not zero."""
    codes = np.frombuffer(data, dtype=np.uint8)
    if codes.size and codes.max() > 242:
        raise TapeError(f"weights: byte {int(codes.max())} is no code of 5 trits (0..242)")
    digits = codes[:, None] // _POWERS_OF_3 % 3
    flat = digits.astype(np.int8).ravel() - np.int8(1)
    count = shape[0] * shape[1]
    if flat[count:].any():
        raise TapeError("weights: the padding of a matrix must be zero trits")
    return flat[:count].reshape(shape)


def _trit_bytes(rows: int, fan_in: int) -> int:
    return -(-rows * fan_in // TRITS_PER_BYTE)


def _encode(tape: Tape) -> bytes:
    manifest = {
        "config": tape.config.to_dict(),
        "formats": asdict(tape.formats),
        "tokenizer": tape.tokenizer,
        "embedding_shift": tape.embedding_shift,
        "segments": [
            {
                "kind": s.kind,
                "layer": s.layer,
                "fan_in": s.fan_in,
                "matrices": [
                    {
                        "role": m.role,
                        "rows": m.rows,
                        "multiplier": m.multiplier,
                        "exponent": m.exponent,
                    }
                    for m in s.matrices
                ],
            }
            for s in tape.segments
        ],
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    parts = [PREFIX.pack(MAGIC, VERSION, len(text)), text]
    parts += [tape.sigmoid.astype("<i2").tobytes(), tape.silu.astype("<i2").tobytes()]
    matrices = [m for s in tape.segments for m in s.matrices]
    parts += [m.bias.astype("<i2").tobytes() for m in matrices if m.bias is not None]
    parts.append(tape.embedding.tobytes())
    parts += [pack_trits(m.trits) for m in matrices]
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


class _Reader:
    """Hands out consecutive byte ranges of a tape's body."""

    def __init__(self, body: bytes, offset: int) -> None:
        self._body, self._offset = body, offset

    def take(self, count: int) -> bytes:
        part = self._body[self._offset : self._offset + count]
        if len(part) != count:
            raise TapeError(
                f"the manifest asks for more data than there is ({len(self._body)} bytes)"
            )
        self._offset += count
        return part

    def take_array(self, dtype: str, *shape: int) -> NDArray[Any]:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        array = np.frombuffer(self.take(count), dtype=dtype).reshape(shape)
        return array.astype(array.dtype.newbyteorder("="))

    def finish(self) -> None:
        if left := len(self._body) - self._offset:
            raise TapeError(f"{left} bytes left over after the last matrix")


def decode_tape(data: bytes) -> Tape:
    """Parse a tape.

    Raises
    ------
    TapeError
        If it is no tape, of another version, truncated, altered in any bit, or its contents are not
        valid.
    """
    if len(data) < PREFIX.size or data[: len(MAGIC)] != MAGIC:
        raise TapeError("not a tape: it does not begin with MMFTAPE")
    _, version, manifest_bytes = PREFIX.unpack_from(data)
    if version != VERSION:
        raise TapeError(
            f"tape version {version}, but this mmfree reads version {VERSION}: export the model"
            " again"
        )
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise TapeError(
            "checksum mismatch: the tape is truncated or altered; copy or export it again"
        )
    try:
        manifest = json.loads(body[PREFIX.size : PREFIX.size + manifest_bytes])
        tape = _decode_body(manifest, _Reader(body, PREFIX.size + manifest_bytes))
    except (KeyError, TypeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TapeError(f"manifest is malformed: {type(error).__name__}: {error}") from error
    if tape.data != data:
        raise TapeError("not canonical: writing it again gives other bytes")
    return tape


def _decode_body(manifest: dict[str, Any], reader: _Reader) -> Tape:
    try:
        config = ModelConfig.from_dict(manifest["config"])
        formats = Formats(**manifest["formats"])
    except ValueError as error:
        raise TapeError(f"manifest: {error}") from None
    sigmoid = reader.take_array("<i2", TABLE_ENTRIES)
    silu = reader.take_array("<i2", TABLE_ENTRIES)
    shapes = list(segment_shapes(config))
    if [(s["kind"], s["layer"], s["fan_in"]) for s in manifest["segments"]] != [
        (kind, layer, fan_in) for kind, layer, _, fan_in in shapes
    ]:
        raise TapeError("manifest: the segments do not follow from the config")
    biases = [
        reader.take_array("<i2", rows) if "f" in SEGMENT_ROLES[kind] else None
        for kind, _, rows, _ in shapes
    ]
    embedding = reader.take_array("i1", config.vocab_size, config.hidden_size)
    segments = []
    for entry, bias, (kind, layer, rows, fan_in) in zip(
        manifest["segments"], biases, shapes, strict=True
    ):
        matrices = tuple(
            Matrix(
                role=m["role"],
                trits=unpack_trits(reader.take(_trit_bytes(rows, fan_in)), (rows, fan_in)),
                multiplier=m["multiplier"],
                exponent=m["exponent"],
                bias=bias if m["role"] == "f" else None,
            )
            for m in entry["matrices"]
        )
        segments.append(Segment(kind=kind, layer=layer, matrices=matrices))
    reader.finish()
    return Tape(
        config=config,
        tokenizer=manifest["tokenizer"],
        segments=tuple(segments),
        embedding=embedding,
        embedding_shift=manifest["embedding_shift"],
        sigmoid=sigmoid,
        silu=silu,
        formats=formats,
    )


def write_tape(tape: Tape, path: Path) -> None:
    """Write a tape atomically: the file is either the whole tape or as it was before."""
    write_atomically(path, tape.data)
