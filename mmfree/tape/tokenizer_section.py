"""A subword tokenizer as a section of a version 2 tape (docs/tape.md).

It keeps the tokenizer's file bit for bit, in about half the bytes of the file compressed as it is.
The section is taken apart into columns, each of one kind of value: pieces, scores, merges. A file
that its columns do not give back bit for bit is kept as it is.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.tokenizers import SUBWORD_KINDS
from mmfree.errors import InputError
from mmfree.files.compressed import LARGEST_BYTES, pack_bytes, unpack_bytes

COLUMNS, FILE = "columns", "file"
"""Forms of a section: taken apart, or the file itself; compressed both."""

_MOST_ENTRIES = 1 << 21
"""Pieces, and merges, of a section of columns."""

_END = b"\0"
"""After each piece; no piece of a section of columns holds it."""

_PIECE, _TEXT, _SCORE, _TYPE = 0x0A, 0x0A, 0x15, 0x18
"""Tags of a SentencePiece model: a piece (message), and within it the text (bytes), the score
(float32) and the type (varint)."""

_WRITINGS: tuple[dict[str, Any], ...] = (
    {"indent": 2, "ensure_ascii": False},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"separators": (",", ":"), "ensure_ascii": True},
)
"""How a tokenizer.json may be written, by number: as the tokenizers library does for people, as it
does for programs, and in ASCII."""


def tokenizer_section(tokenizer: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A tokenizer's entry in the manifest, and its section.

    Parameters
    ----------
    tokenizer
        {"kind", "data"} with the contents of the file for the kinds "tokenizers" and
        "sentencepiece"; any other has no section.

    Raises
    ------
    InputError
        If the file is too large.
    """
    kind = tokenizer["kind"]
    if kind not in SUBWORD_KINDS:
        return tokenizer, b""
    file: bytes = tokenizer["data"]
    form, contents = FILE, file
    split, join = _FORMS[kind]
    try:
        if join(columns := split(file)) == file:
            form, contents = COLUMNS, _join_columns(columns)
    except (ValueError, RecursionError):
        pass  # a file of another layout
    section = pack_bytes(contents)
    return {"kind": kind, "form": form, "bytes": len(section)}, section


def section_bytes(entry: Any) -> int:
    """Size of the section that a manifest's entry announces; InputError if it is no entry."""
    if not isinstance(entry, dict):
        raise InputError(f"tokenizer: expected an object, got {type(entry).__name__}")
    if entry in ({"kind": "none"}, {"kind": "bytes"}):
        return 0
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in SUBWORD_KINDS:
        raise InputError(
            f"tokenizer: kind must be {', '.join(SUBWORD_KINDS)}, or bytes or none with nothing"
            f" beside them, got {kind!r}"
        )
    if set(entry) != {"kind", "form", "bytes"} or entry["form"] not in (COLUMNS, FILE):
        raise InputError(
            f"tokenizer: kind {kind} needs form ({COLUMNS} or {FILE}) and bytes, and nothing else:"
            " export the model again"
        )
    size = entry["bytes"]
    if type(size) is not int or not 1 <= size <= LARGEST_BYTES:
        raise InputError(f"tokenizer: bytes must be an integer in 1..{LARGEST_BYTES}, got {size!r}")
    return size


def tokenizer_of_section(entry: dict[str, Any], section: bytes) -> dict[str, Any]:
    """Inverse of ``tokenizer_section``, for an entry that ``section_bytes`` accepts.

    InputError if the section is damaged.
    """
    kind = entry.get("kind")
    if kind not in SUBWORD_KINDS:
        return entry
    try:
        contents = unpack_bytes(section)
        if entry["form"] == COLUMNS:
            contents = _FORMS[kind][1](_split_columns(contents))
    except (ValueError, RecursionError) as error:
        raise InputError(f"tokenizer: its section is damaged: {error}") from None
    return {"kind": kind, "data": contents}


def _join_columns(columns: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(column)) + column for column in columns)


def _split_columns(data: bytes) -> list[bytes]:
    columns, at = [], 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            raise InputError("a column is cut off")
        columns.append(data[start:at])
    return columns


def _take(columns: list[bytes], count: int) -> list[bytes]:
    if len(columns) != count:
        raise InputError(f"{len(columns)} columns, not {count}")
    return columns


def _pack_pieces(pieces: list[bytes]) -> bytes:
    return b"".join(piece + _END for piece in pieces)


def _unpack_pieces(data: bytes) -> list[bytes]:
    if (found := data.count(_END)) > _MOST_ENTRIES:
        raise InputError(f"{found:,} pieces, at most {_MOST_ENTRIES:,} can be")
    *pieces, rest = data.split(_END)
    if rest:
        raise InputError("the last piece is cut off")
    return pieces


def _pack_numbers(values: NDArray[np.uint32]) -> bytes:
    """Differences modulo 2^32 between one number and the next, the lowest bytes of all first:
    numbers that grow evenly compress to nearly nothing.
    """
    differences = np.diff(values, prepend=np.uint32(0)).astype("<u4")
    return differences.view(np.uint8).reshape(-1, 4).T.tobytes()


def _unpack_numbers(data: bytes) -> NDArray[np.uint32]:
    if len(data) % 4 or len(data) > 4 * _MOST_ENTRIES:
        raise InputError(
            f"{len(data):,} bytes of numbers, not 4 for each of at most {_MOST_ENTRIES:,}"
        )
    differences = np.ascontiguousarray(np.frombuffer(data, dtype=np.uint8).reshape(4, -1).T).view(
        "<u4"
    )[:, 0]
    return np.cumsum(differences, dtype=np.uint32)


def _same_length(*columns: Sized) -> None:
    if len({len(column) for column in columns}) != 1:
        raise InputError(
            f"columns of {', '.join(str(len(column)) for column in columns)} entries, which belong"
            " together"
        )


def _split_sentencepiece(file: bytes) -> list[bytes]:
    """Columns of a model: pieces, types (0: left out), scores, and what follows the pieces.

    InputError if it is laid out otherwise.
    """
    pieces, types, scores, at = [], bytearray(), [], 0
    try:
        while at < len(file) and file[at] == _PIECE:
            size, start = _read_varint(file, at + 1)
            at = start + size
            length, text = _read_varint(file, start + 1)
            after = text + length
            tags = (file[start], file[after], file[after + 5] if after + 5 < at else _TYPE)
            if tags != (_TEXT, _SCORE, _TYPE) or at - after not in (5, 7):
                raise InputError("a piece of another layout")
            pieces.append(file[text:after])
            scores.append(file[after + 1 : after + 5])
            types.append(file[after + 6] if at - after == 7 else 0)
    except IndexError:
        raise InputError("a piece is cut off") from None
    numbers = np.frombuffer(b"".join(scores), dtype="<u4").astype(np.uint32)
    return [_pack_pieces(pieces), bytes(types), _pack_numbers(numbers), file[at:]]


def _join_sentencepiece(columns: list[bytes]) -> bytes:
    """The model of its columns."""
    texts, types, numbers, rest = _take(columns, 4)
    pieces, scores = _unpack_pieces(texts), _unpack_numbers(numbers).astype("<u4").tobytes()
    _same_length(pieces, types, range(0, len(scores), 4))
    parts = []
    for index, (piece, kind) in enumerate(zip(pieces, types, strict=True)):
        score = scores[4 * index : 4 * index + 4]
        message = (
            bytes([_TEXT])
            + _varint(len(piece))
            + piece
            + bytes([_SCORE])
            + score
            + (bytes([_TYPE, kind]) if kind else b"")
        )
        parts.append(bytes([_PIECE]) + _varint(len(message)) + message)
    return b"".join([*parts, rest])


def _varint(value: int) -> bytes:
    """A length as protocol buffers write it: seven bits to a byte, the lowest first."""
    found = bytearray()
    while value >= 128:
        found.append(value % 128 + 128)
        value //= 128
    return bytes([*found, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A length, and where the next byte is; IndexError at the end of the data."""
    value = shift = 0
    while data[at] >= 128:
        value += data[at] % 128 << shift
        shift, at = shift + 7, at + 1
    return value + (data[at] << shift), at + 1


def _split_json(file: bytes) -> list[bytes]:
    """Columns of a tokenizer.json with a byte-pair encoding.

    Everything else; pieces; ids; which piece each merge makes; characters of its left part.
    InputError if it is another model, or written otherwise.
    """
    contents = json.loads(file)
    model = contents.get("model") if isinstance(contents, dict) else None
    if (
        not isinstance(model, dict)
        or not isinstance(vocabulary := model.get("vocab"), dict)
        or not isinstance(merges := model.get("merges"), list)
    ):
        raise InputError("no byte-pair encoding")
    writing = next(
        (
            n
            for n, options in enumerate(_WRITINGS)
            if json.dumps(contents, **options).encode() == file
        ),
        None,
    )
    if writing is None or not all(
        type(number) is int and 0 <= number < 1 << 32 for number in vocabulary.values()
    ):
        raise InputError("another writing")
    in_pairs = not (merges and isinstance(merges[0], str))
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    places = {piece: place for place, piece in enumerate(vocabulary)}
    wholes, cuts = [], bytearray()
    for pair in pairs:
        if (
            not isinstance(pair, list)
            or [type(part) for part in pair] != [str, str]
            or (place := places.get("".join(pair))) is None
        ):
            raise InputError("a merge of another layout")
        wholes.append(place)
        cuts.append(len(pair[0]))  # ValueError beyond 255
    head = {
        "writing": writing,
        "pairs": in_pairs,
        "contents": contents | {"model": model | {"vocab": None, "merges": None}},
    }
    return [
        json.dumps(head, ensure_ascii=False).encode(),
        _pack_pieces([piece.encode() for piece in vocabulary]),
        _pack_numbers(np.array(list(vocabulary.values()), dtype=np.uint32)),
        _pack_numbers(np.array(wholes, dtype=np.uint32)),
        bytes(cuts),
    ]


def _join_json(columns: list[bytes]) -> bytes:
    """The tokenizer.json of its columns."""
    first, texts, numbers, made, cuts = _take(columns, 5)
    pieces = [piece.decode() for piece in _unpack_pieces(texts)]
    ids, wholes = _unpack_numbers(numbers).tolist(), _unpack_numbers(made).tolist()
    _same_length(pieces, ids)
    _same_length(wholes, cuts)
    if (
        max(wholes, default=-1) >= len(pieces)
        or sum(len(pieces[whole]) for whole in wholes) > LARGEST_BYTES
    ):
        raise InputError("merges of pieces that are not there, or too long")
    try:
        head = json.loads(first)
        if (
            set(head) != {"writing", "pairs", "contents"}
            or type(writing := head["writing"]) is not int
            or writing < 0
            or len(set(pieces)) < len(pieces)
        ):
            raise InputError("its first column is malformed, or a piece occurs twice")
        contents, model, options = head["contents"], head["contents"]["model"], _WRITINGS[writing]
        in_pairs = head["pairs"]
        pairs = (
            (pieces[whole][:cut], pieces[whole][cut:])
            for whole, cut in zip(wholes, cuts, strict=True)
        )
        model["vocab"] = dict(zip(pieces, ids, strict=True))
        model["merges"] = [list(pair) if in_pairs else " ".join(pair) for pair in pairs]
    except (KeyError, TypeError, IndexError):
        raise InputError("its first column is malformed") from None
    return json.dumps(contents, **options).encode()


_FORMS: dict[str, tuple[Callable[[bytes], list[bytes]], Callable[[list[bytes]], bytes]]] = {
    "sentencepiece": (_split_sentencepiece, _join_sentencepiece),
    "tokenizers": (_split_json, _join_json),
}
"""Kind of tokenizer -> how its file is taken apart, and put together again."""
