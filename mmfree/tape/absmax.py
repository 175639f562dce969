"""Tapes of published checkpoints (version 2 of docs/tape.md).

Written field by field, read field by field, so that a model never has to be in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import (
    CONSTANT_BITS,
    DEFAULT_ABSMAX_FORMATS,
    ROLES_BY_KIND,
    SIGMOID_ENTRIES,
    SIGMOID_FB,
    SIGMOID_RISE_BITS,
    WITHOUT_NORM,
    AbsmaxFormats,
)
from mmfree.contract.shape import AbsmaxConfig, segment_name
from mmfree.files.atomic import open_atomically
from mmfree.tape.container import (
    INT24,
    Field,
    TapeError,
    TapeFile,
    TapeWriter,
    canonical_json,
    manifest_errors,
    name_errors,
)
from mmfree.tape.tokenizer_section import section_bytes, tokenizer_of_section, tokenizer_section
from mmfree.tape.trits import count_zeros, num_trit_bytes, unpack_trits

VERSION = 2
"""Version of the tapes of published checkpoints."""

REVISION = 2
"""Revision of the arithmetic: the integers of another one give other logits."""

GAIN_FB_RANGE = (-14, 38)
CONSTANT_EXPONENT_RANGE = (-64, 16)
OFFSET_EXPONENT_RANGE = (-96, 0)
EMBEDDING_FB_RANGE = (11, 40)


def tape_fields(config: AbsmaxConfig, tokenizer_bytes: int = 0) -> Iterator[Field]:
    """Every array after the manifest, in order (docs/tape.md, version 2).

    ``tokenizer_bytes``: size of the tokenizer's section, 0 for none.
    """
    d = config.hidden_size
    if tokenizer_bytes:
        yield Field("tokenizer", "u1", (tokenizer_bytes,))
    yield Field("sigmoid/values", "<i4", (SIGMOID_ENTRIES,))
    yield Field("sigmoid/rises", "<u2", (SIGMOID_ENTRIES,))
    yield Field("embedding/scale", "<u2", (config.vocab_size,))
    yield Field("embedding/rows", "i1", (config.vocab_size, d))
    yield Field("lower_bounds", INT24, (config.num_layers, d))
    for kind, layer, rows, fan_in in config.segments():
        prefix = segment_name(kind, layer)
        yield Field(f"{prefix}/offset", "<i4", (2,))
        if kind != WITHOUT_NORM:
            yield Field(f"{prefix}/norm_fb", "<i4", (1,))
            yield Field(f"{prefix}/norm", INT24, (fan_in,))
        for role in ROLES_BY_KIND[kind]:
            yield Field(f"{prefix}/{role}/constants", "<i4", (3,))
            yield Field(f"{prefix}/{role}/gain", INT24, (fan_in,))
            yield Field(f"{prefix}/{role}/trits", "u1", (num_trit_bytes(rows, fan_in),))


@contextmanager
def write_absmax_tape(
    path: Path,
    config: AbsmaxConfig,
    tokenizer: dict[str, Any],
    embedding_fb: int,
    formats: AbsmaxFormats = DEFAULT_ABSMAX_FORMATS,
) -> Iterator[TapeWriter]:
    """A writer for the fields after the tokenizer.

    The file is renamed to ``path`` when the block ends, if every field was written; after an
    exception nothing is left of it.

    ``tokenizer``: {"kind"}, and "data", the contents of its file, for a subword tokenizer.
    """
    entry, section = tokenizer_section(tokenizer)
    manifest = canonical_json(_manifest(config, formats, entry, embedding_fb))
    with open_atomically(path) as file:
        writer = TapeWriter(file, VERSION, manifest, tape_fields(config, len(section)))
        if section:
            writer.write("tokenizer", np.frombuffer(section, dtype=np.uint8))
        yield writer
        writer.finish()


def _manifest(
    config: AbsmaxConfig, formats: AbsmaxFormats, tokenizer: object, embedding_fb: object
) -> dict[str, Any]:
    return {
        "arithmetic": AbsmaxTape.arithmetic,
        "revision": REVISION,
        "config": config.to_dict(),
        "formats": asdict(formats),
        "tokenizer": tokenizer,
        "embedding_fb": embedding_fb,
    }


@dataclass(frozen=True)
class Gain:
    """A vector of gains.

    ``values`` int32 [n], of 24 bits, stand for values * 2^-fraction_bits.
    """

    values: NDArray[np.int32]
    fraction_bits: int


@dataclass(frozen=True)
class AbsmaxMatrix:
    """One ternary matrix, still on the tape, with the constants of its use.

    mantissa * 2^exponent = mean |W| * sqrt(fan_in) / 127.
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
        with name_errors(f"{self.tape.path}: {self.segment}, matrix {self.role}"):
            return unpack_trits(self._codes(), (self.rows, self.fan_in))

    def _codes(self) -> NDArray[np.uint8]:
        return self.tape.array(f"{self.segment}/{self.role}/trits")

    @property
    def absmean(self) -> float:
        """The scale that the trits are multiplied by: mean |W|."""
        return float(self.mantissa * 2.0**self.exponent * 127 / self.fan_in**0.5)

    @property
    def constants(self) -> dict[str, int | float]:
        """By name, for people."""
        return {
            "multiplier": self.mantissa,
            "exponent": self.exponent,
            "absmean": self.absmean,
        }

    def zeros(self) -> float:
        """Share of zero weights, counted on the codes."""
        count = self.rows * self.fan_in
        return count_zeros(self._codes(), count) / count


@dataclass(frozen=True)
class AbsmaxSegment:
    """The matrices that read one vector.

    ``norm``: gains of the norm before their own norms, None for down. ``offset``: mantissa and
    exponent of what is added under the root, mantissa * 2^exponent.
    """

    kind: str
    layer: int | None
    offset: tuple[int, int]
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

    arithmetic: ClassVar[str] = "absmax"

    def __init__(self, path: Path) -> None:
        self.path = path
        with name_errors(path):
            self._file = TapeFile(lambda: path.open("rb"), VERSION)
            self.num_bytes, self.sha256 = self._file.num_bytes, self._file.sha256
            with manifest_errors():
                self._read_manifest(self._file.manifest)
            self._file.place(tape_fields(self.config, self.tokenizer_bytes))
            self._check_contents()

    def _read_manifest(self, manifest: dict[str, Any]) -> None:
        if manifest["arithmetic"] != self.arithmetic:
            found = manifest["arithmetic"]
            raise TapeError(f"manifest: arithmetic must be {self.arithmetic!r}, got {found!r}")
        if (revision := manifest.get("revision", 1)) != REVISION:
            raise TapeError(
                f"revision {revision!r} of the arithmetic {self.arithmetic}, but this mmfree plays"
                f" {REVISION}: export the model again"
            )
        self.config = AbsmaxConfig(**manifest["config"])
        self.formats = AbsmaxFormats(**manifest["formats"])
        self._tokenizer_entry: dict[str, Any] = manifest["tokenizer"]
        self.embedding_fb: int = manifest["embedding_fb"]
        self.tokenizer_bytes = section_bytes(self._tokenizer_entry)
        written = _manifest(self.config, self.formats, self._tokenizer_entry, self.embedding_fb)
        if canonical_json(written) != self._file.manifest_text:
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
        self._check_sigmoid()
        for segment in self.segments:
            _check_segment(segment)

    def _check_sigmoid(self) -> None:
        values, rises = self.array("sigmoid/values"), self.array("sigmoid/rises")
        one = 1 << SIGMOID_FB
        for value in (int(values.min()), int(values.max())):
            _check_range("sigmoid: values", value, (0, one - 1))
        _check_range("sigmoid: rises", int(rises.max()), (0, (1 << SIGMOID_RISE_BITS) - 1))
        _check_range("sigmoid: a value and its rise", int((values + rises).max()), (0, one))

    def array(self, name: str) -> NDArray[Any]:
        """Read a field."""
        return self._file.array(name)

    @cached_property
    def segments(self) -> tuple[AbsmaxSegment, ...]:
        """Every segment with its gains and constants, in the order of use.

        The trits stay on the tape.
        """
        return tuple(self._segment(*shape) for shape in self.config.segments())

    def _segment(self, kind: str, layer: int | None, rows: int, fan_in: int) -> AbsmaxSegment:
        prefix = segment_name(kind, layer)
        mantissa, exponent = (int(v) for v in self.array(f"{prefix}/offset"))
        offset = (mantissa, exponent)
        norm = None
        if kind != WITHOUT_NORM:
            norm = Gain(
                self.array(f"{prefix}/norm"),
                int(self.array(f"{prefix}/norm_fb")[0]),
            )
        matrices = []
        for role in ROLES_BY_KIND[kind]:
            gain_fb, mantissa, exponent = (int(v) for v in self.array(f"{prefix}/{role}/constants"))
            gain = Gain(self.array(f"{prefix}/{role}/gain"), gain_fb)
            matrices.append(
                AbsmaxMatrix(self, prefix, role, rows, fan_in, gain, mantissa, exponent)
            )
        return AbsmaxSegment(kind, layer, offset, norm, tuple(matrices))

    @property
    def num_ternary_weights(self) -> int:
        """Ternary weights read per token, without padding."""
        return self.config.num_ternary_weights

    @property
    def trit_bytes(self) -> int:
        """Bytes of all matrices."""
        return sum(num_trit_bytes(m.rows, m.fan_in) for s in self.segments for m in s.matrices)

    @property
    def start(self) -> int | None:
        """The id that begins a sequence; None: the tokenizer's own."""
        return self.config.bos_token_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The ids that end a text."""
        return self.config.end_ids

    def describe_tokenizer(self) -> dict[str, Any]:
        """The tokenizer for people: its kind, and the bytes of its section."""
        return {"kind": self.tokenizer.get("kind"), "bytes": self.tokenizer_bytes}


def _check_segment(segment: AbsmaxSegment) -> None:
    """TapeError if a number of a segment is out of its range."""
    mantissas = (1 << (CONSTANT_BITS - 1), (1 << CONSTANT_BITS) - 1)
    _check_range(f"{segment.name}: mantissa of the offset", segment.offset[0], mantissas)
    _check_range(
        f"{segment.name}: exponent of the offset", segment.offset[1], OFFSET_EXPONENT_RANGE
    )
    gains = [matrix.gain for matrix in segment.matrices]
    for gain in gains if segment.norm is None else [segment.norm, *gains]:
        _check_range(f"{segment.name}: fraction bits of a gain", gain.fraction_bits, GAIN_FB_RANGE)
    for matrix in segment.matrices:
        name = f"{segment.name}, matrix {matrix.role}"
        _check_range(f"{name}: mantissa", matrix.mantissa, mantissas)
        _check_range(f"{name}: exponent", matrix.exponent, CONSTANT_EXPONENT_RANGE)


def _check_range(name: str, value: int, limits: tuple[int, int]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise TapeError(f"{name} must lie in {limits[0]}..{limits[1]}, got {value}")
