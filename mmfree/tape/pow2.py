"""The tape: a model as one canonical file, independent of any design (format: docs/tape.md).

A tape holds everything a backend needs to play the model: configuration, tokenizer data, function
tables, embedding, gate biases and the ternary weights in the order of use. The sha256 of the whole
file is the model's identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

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
from mmfree.contract.shape import ModelConfig, segment_name
from mmfree.contract.tokenizers import SUBWORD_KINDS, describe_tokenizer
from mmfree.files.atomic import write_atomically
from mmfree.files.compressed import unpack_text
from mmfree.tape.container import (
    Field,
    TapeError,
    TapeFile,
    TapeWriter,
    canonical_json,
    manifest_errors,
    mapped,
    name_errors,
)
from mmfree.tape.trits import (
    check_codes,
    count_zeros,
    num_trit_bytes,
    pack_trits,
    unpack_trits,
)

VERSION = 1
"""Version of the tapes of models trained here."""

MINOR_VERSION = 1
"""Of tapes with a token shift, which readers before it refuse; without one it is 0, and not said.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """One ternary matrix with its constants (docs/arithmetic.md, 3 and 7).

    ``codes``: its weights as they lie on a tape, uint8, five to a byte; ``multiplier`` m_w in
    128..256; ``exponent`` a; ``bias`` int16 [rows] in the format of z, for role f only.
    """

    role: str
    rows: int
    fan_in: int
    codes: NDArray[np.uint8]
    multiplier: int
    exponent: int
    bias: NDArray[np.int16] | None = None

    @classmethod
    def of(cls, trits: NDArray[np.int8], **others: Any) -> Matrix:
        """A matrix of ``trits``, int8 [rows, fan_in] of -1, 0, +1, and of its ``others`` fields.

        Raises
        ------
        TapeError
            If they are anything else.
        """
        _check_array("trits", trits, np.int8, np.shape(trits))
        if trits.size and (trits.min() < -1 or trits.max() > 1):
            raise TapeError("trits must be -1, 0 or +1")
        rows, fan_in = trits.shape
        return cls(rows=rows, fan_in=fan_in, codes=pack_trits(trits), **others)

    def with_trits(self, trits: NDArray[np.int8]) -> Matrix:
        """The same with other weights. Raises what ``of`` does."""
        return Matrix.of(
            trits,
            role=self.role,
            multiplier=self.multiplier,
            exponent=self.exponent,
            bias=self.bias,
        )

    @property
    def trits(self) -> NDArray[np.int8]:
        """Decoded, whenever they are asked for: int8 [rows, fan_in] of -1, 0, +1."""
        return unpack_trits(self.codes, (self.rows, self.fan_in))

    @property
    def constants(self) -> dict[str, int | float]:
        """By name, for people."""
        return {"multiplier": self.multiplier, "exponent": self.exponent}

    def zeros(self) -> float:
        """Share of zero weights."""
        count = self.rows * self.fan_in
        return count_zeros(self.codes, count) / count


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """The group of matrices that read one vector. ``layer`` is None for the head."""

    kind: str
    layer: int | None
    matrices: tuple[Matrix, ...]

    @property
    def fan_in(self) -> int:
        """Length of the vector."""
        return self.matrices[0].fan_in

    @property
    def name(self) -> str:
        """``layer 3 glu``, or ``head``."""
        return segment_name(self.kind, self.layer)


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
    _file: TapeFile | None = field(default=None, init=False, repr=False)

    arithmetic: ClassVar[str] = "pow2"

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
        kind = self.tokenizer.get("kind")
        if not isinstance(kind, str):
            raise TapeError(f"tokenizer: kind must be text, got {kind!r}")
        if kind in SUBWORD_KINDS:
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
            if (matrix.rows, matrix.fan_in) != (rows, fan_in):
                raise TapeError(
                    f"{name}: expected {rows} x {fan_in} weights, got {matrix.rows} x"
                    f" {matrix.fan_in}"
                )
            _check_array(f"{name}: codes", matrix.codes, np.uint8, (num_trit_bytes(rows, fan_in),))
            with name_errors(name):
                check_codes(matrix.codes, rows * fan_in)
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
    def _written(self) -> tuple[bytes, str]:
        """The file, byte for byte, and its sha256."""
        file = BytesIO()
        writer = TapeWriter(
            file, VERSION, canonical_json(_manifest(self)), tape_fields(self.config)
        )
        for name, array in _arrays(self):
            writer.write(name, array)
        writer.finish()
        return file.getvalue(), writer.sha256

    @property
    def data(self) -> bytes:
        """The file, byte for byte."""
        return self._written[0] if self._file is None else self._file.data

    @property
    def sha256(self) -> str:
        """Identity of the model: sha256 of the whole file, hexadecimal."""
        return self._written[1] if self._file is None else self._file.sha256

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return len(self.data) if self._file is None else self._file.num_bytes

    def __reduce__(self) -> tuple[Callable[[bytes], Tape], tuple[bytes]]:
        # To another process, or copied deeply: as its file, for what is mapped is of this process.
        return decode_tape, (self.data,)

    def let_go(self) -> None:
        """Take what was read of a file's weights out of memory, until it is read again."""
        if self._file is not None:
            self._file.let_go()

    @property
    def num_ternary_weights(self) -> int:
        """Ternary weights read per token, without padding."""
        return self.config.num_ternary_weights

    @property
    def trit_bytes(self) -> int:
        """Bytes of all matrices."""
        return sum(num_trit_bytes(m.rows, m.fan_in) for s in self.segments for m in s.matrices)

    @property
    def start(self) -> None:
        """The id that begins a sequence; None: the tokenizer's own."""
        return None

    def describe_tokenizer(self) -> dict[str, Any]:
        """The tokenizer for people: what is long is replaced by its length."""
        return describe_tokenizer(self.tokenizer)


def _check_tokenizer_data(data: object) -> None:
    if not isinstance(data, str):
        raise TapeError(f"tokenizer: data must be text, got {type(data).__name__}")
    try:
        unpack_text(data)
    except ValueError as error:
        raise TapeError(f"tokenizer: data is damaged: {error}") from None


def _check_array(name: str, array: object, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise TapeError(f"{name}: expected {np.dtype(dtype).name} {shape}, got {got}")


def tape_fields(config: ModelConfig) -> Iterator[Field]:
    """Every array after the manifest, in order (docs/tape.md, version 1)."""
    yield Field("sigmoid", "<i2", (TABLE_ENTRIES,))
    yield Field("silu", "<i2", (TABLE_ENTRIES,))
    shapes = [
        (segment_name(kind, layer), kind, rows, n)
        for kind, layer, rows, n in segment_shapes(config)
    ]
    for name, kind, rows, _ in shapes:
        if "f" in SEGMENT_ROLES[kind]:
            yield Field(f"{name}/f/bias", "<i2", (rows,))
    yield Field("embedding", "i1", (config.vocab_size, config.hidden_size))
    for name, kind, rows, fan_in in shapes:
        for role in SEGMENT_ROLES[kind]:
            yield Field(f"{name}/{role}/trits", "u1", (num_trit_bytes(rows, fan_in),))


def _arrays(tape: Tape) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and contents of every field."""
    yield "sigmoid", tape.sigmoid
    yield "silu", tape.silu
    matrices = [(f"{s.name}/{m.role}", m) for s in tape.segments for m in s.matrices]
    for name, matrix in matrices:
        if matrix.bias is not None:
            yield f"{name}/bias", matrix.bias
    yield "embedding", tape.embedding
    for name, matrix in matrices:
        yield f"{name}/trits", matrix.codes


def _manifest(tape: Tape) -> dict[str, Any]:
    return {
        **({"minor_version": MINOR_VERSION} if tape.config.token_shift else {}),
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


def decode_tape(data: bytes) -> Tape:
    """Parse a tape.

    Raises
    ------
    TapeError
        If it is no tape, of another version, truncated, altered in any bit, or its contents are
        not valid.
    """
    return _decode(TapeFile(lambda: BytesIO(data), VERSION, memoryview(data)))


def read_tape(path: Path) -> Tape:
    """The tape in a file: mapped, so that its weights are read when they are asked for.

    Another file may take its place, as all writers of mmfree do it; what writes into the file
    itself changes the tape that was read. Raises what ``decode_tape`` does.
    """
    with path.open("rb") as file:
        held = mapped(file)
        return _decode(TapeFile(lambda: nullcontext(file), VERSION, held))


def _decode(file: TapeFile) -> Tape:
    with manifest_errors():
        tape = _tape_of(file)
    # The codes of the weights are valid, and every other array has one way to be written.
    if canonical_json(_manifest(tape)) != file.manifest_text:
        raise TapeError("not canonical: writing its manifest again gives other bytes")
    # It is frozen; what is made of it by replace() is not what lies in the file.
    object.__setattr__(tape, "_file", file)
    tape.let_go()
    return tape


def _tape_of(file: TapeFile) -> Tape:
    manifest = file.manifest
    if (minor := manifest.get("minor_version", 0)) not in (0, MINOR_VERSION):
        raise TapeError(
            f"tape version {VERSION}.{minor}, but this mmfree reads up to"
            f" {VERSION}.{MINOR_VERSION}: install a newer one"
        )
    config = ModelConfig.from_dict(manifest["config"])
    formats = Formats(**manifest["formats"])
    shapes = list(segment_shapes(config))
    if [(s["kind"], s["layer"], s["fan_in"]) for s in manifest["segments"]] != [
        (kind, layer, fan_in) for kind, layer, _, fan_in in shapes
    ]:
        raise TapeError("manifest: the segments do not follow from the config")
    file.place(tape_fields(config))
    segments = []
    for entry, (kind, layer, rows, fan_in) in zip(manifest["segments"], shapes, strict=True):
        name = segment_name(kind, layer)
        roles = [m["role"] for m in entry["matrices"]]
        if tuple(roles) != SEGMENT_ROLES[kind]:
            raise TapeError(f"manifest: {name} has matrices {roles}, not {SEGMENT_ROLES[kind]}")
        matrices = tuple(
            Matrix(
                role=m["role"],
                rows=rows,
                fan_in=fan_in,
                codes=file.array(f"{name}/{m['role']}/trits"),
                multiplier=m["multiplier"],
                exponent=m["exponent"],
                bias=file.array(f"{name}/f/bias") if m["role"] == "f" else None,
            )
            for m in entry["matrices"]
        )
        segments.append(Segment(kind=kind, layer=layer, matrices=matrices))
    return Tape(
        config=config,
        tokenizer=manifest["tokenizer"],
        segments=tuple(segments),
        # Copied: it is read at every token, whatever becomes of the file.
        embedding=file.array("embedding").copy(),
        embedding_shift=manifest["embedding_shift"],
        sigmoid=file.array("sigmoid"),
        silu=file.array("silu"),
        formats=formats,
    )


def write_tape(tape: Tape, path: Path) -> None:
    """Write a tape atomically: the file is either the whole tape or as it was before."""
    write_atomically(path, tape.data)
