"""Boundaries of what is on a tape, of either version."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from mmfree.contract.absmax import sigmoid_table
from mmfree.errors import InputError
from mmfree.files.compressed import pack_bytes
from mmfree.tape import tokenizer_section as sections
from mmfree.tape.container import MAGIC, TapeError, read_prefix
from mmfree.tape.pow2 import Tape
from mmfree.tape.trits import unpack_trits
from tests.support.boundaries import Boundary, both_ends
from tests.support.integers.absmax_tapes import absmax_tape
from tests.support.random_tapes import random_tape

POW2, ABSMAX = "mmfree/tape/pow2.py", "mmfree/tape/absmax.py"
SECTION = "mmfree/tape/tokenizer_section.py"
HEAD = json.dumps({"writing": 0, "pairs": True, "contents": {"model": {}}}).encode()


def tape(gate: str = "hard") -> Tape:
    sizes = {"hidden_size": 3, "intermediate_size": 4, "num_layers": 1, "head_size": 2}
    return random_tape(np.random.default_rng(0), vocab_size=2, gate=gate, **sizes)


def with_entry(name: str, place: int, value: int, gate: str = "hard") -> Tape:
    """A tape with one other entry of a table."""
    table = getattr(tape(gate), name).copy()
    table[place] = value
    return replace(tape(gate), **{name: table})


def with_matrix(segment: int, matrix: int, gate: str = "hard", **changes: Any) -> Tape:
    """A tape with one other matrix."""
    whole = tape(gate)
    segments = list(whole.segments)
    matrices = list(segments[segment].matrices)
    matrices[matrix] = replace(matrices[matrix], **changes)
    segments[segment] = replace(segments[segment], matrices=tuple(matrices))
    return replace(whole, segments=tuple(segments))


def with_trit(value: int) -> Tape:
    trits = np.zeros((3, 3), dtype=np.int8)
    trits[2, 1] = value
    return with_matrix(0, 1, codes=tape().segments[0].matrices[1].with_trits(trits).codes)


def absmax_field(
    compares: str, field: str, contents: Callable[[int], Any], limits: tuple[int, int], says: str
) -> list[Boundary]:
    """Both ends of what a field of a version 2 tape may hold."""
    return [
        Boundary(
            file=ABSMAX,
            compares=compares,
            allowed=lambda folder, value=end: absmax_tape(folder, {field: contents(value)}),
            refused=lambda folder, value=beyond: absmax_tape(folder, {field: contents(value)}),
            says=says.replace("VALUE", str(beyond)),
            raises=TapeError,
        )
        for end, beyond in ((limits[0], limits[0] - 1), (limits[1], limits[1] + 1))
    ]


def one_value(place: int) -> Callable[[int], Any]:
    """Values of the sigmoid table, one of them another."""

    def contents(value: int) -> Any:
        values, _ = sigmoid_table()
        values[place] = value
        return values

    return contents


def with_sigmoid(folder: Path, value: int, rise: int) -> object:
    """A tape whose table has this value and rise in one place."""
    values, rises = sigmoid_table()
    values[7], rises[7] = value, rise
    return absmax_tape(folder, {"sigmoid/values": values, "sigmoid/rises": rises})


def last_of(count: int) -> Callable[[int], list[int]]:
    return lambda value: [*[0] * (count - 1), value]


def columns(*contents: bytes) -> bytes:
    return pack_bytes(b"".join(struct.pack("<I", len(column)) + column for column in contents))


def numbers(*values: int) -> bytes:
    """Differences in four planes."""
    steps = [(b - a) % (1 << 32) for a, b in zip((0, *values), values, strict=False)]
    return b"".join(bytes(step >> 8 * plane & 255 for step in steps) for plane in range(4))


def unpack(kind: str, section: bytes, *, entries: int = 100, size: int = 100) -> None:
    """A section of columns, with at most so many entries, and bytes of merges."""
    with mock.patch.multiple(sections, _MOST_ENTRIES=entries, LARGEST_BYTES=size):
        sections.tokenizer_of_section({"kind": kind, "form": "columns"}, section)


def of_pieces(count: int) -> None:
    """So many pieces, of at most five."""
    section = columns(b"a\0" * count, bytes(count), numbers(*[0] * count), b"")
    unpack("sentencepiece", section, entries=5)


def of_numbers(count: int) -> None:
    """So many ids, of at most five, for as many pieces."""
    pieces = b"".join(b"%d\0" % n for n in range(min(count, 5)))
    section = columns(HEAD, pieces, numbers(*range(count)), b"", b"")
    unpack("tokenizers", section, entries=5)


def of_merge(whole: int) -> None:
    """A merge that makes this one of two pieces."""
    unpack("tokenizers", columns(HEAD, b"a\0ab\0", numbers(0, 1), numbers(whole), b"\1"))


def of_merged(characters: int) -> None:
    """Merges of so many characters together, of at most 10."""
    piece = b"a" * (characters - 5) + b"\0" + b"b" * 5 + b"\0"
    section = columns(HEAD, piece, numbers(0, 1), numbers(0, 1), b"\1\1")
    unpack("tokenizers", section, size=10)


def of_writing(writing: int) -> None:
    head = HEAD.replace(b'"writing": 0', b'"writing": %d' % writing)
    unpack("tokenizers", columns(head, b"", b"", b"", b""))


def of_texts(*texts: bytes) -> None:
    section = columns(HEAD, b"\0".join([*texts, b""]), numbers(*range(len(texts))), b"", b"")
    unpack("tokenizers", section)


def cut_off(characters: int) -> None:
    """A last column of three bytes that says that it has so many."""
    data = b"".join(struct.pack("<I", 0) for _ in range(3))
    section = pack_bytes(data + struct.pack("<I", characters) + b"abc")
    unpack("sentencepiece", section)


def taken_apart(number: int) -> None:
    """Whether a tokenizer.json with this id has columns."""
    file = json.dumps({"model": {"vocab": {"a": number}, "merges": []}}, indent=2).encode()
    entry, _ = sections.tokenizer_section({"kind": "tokenizers", "data": file})
    if entry["form"] != "columns":
        raise InputError(f"id {number}: kept as it is")


ROWS: list[Boundary] = [
    Boundary(
        file="mmfree/tape/container.py",
        compares="len(prefix) < _PREFIX.size",
        allowed=lambda _: read_prefix(BytesIO(MAGIC + struct.pack("<II", 1, 5))),
        refused=lambda _: read_prefix(BytesIO(MAGIC + struct.pack("<II", 1, 5)[:-1])),
        says="not a tape: it does not begin with MMFTAPE",
        raises=TapeError,
    ),
    Boundary(
        file="mmfree/tape/trits.py",
        compares="codes.max() > 242",
        allowed=lambda _: unpack_trits(np.array([242], dtype=np.uint8), (1, 5)),
        refused=lambda _: unpack_trits(np.array([243], dtype=np.uint8), (1, 5)),
        says=r"weights: byte 243 is no code of 5 trits \(0\.\.242\)",
        raises=TapeError,
    ),
    Boundary(
        file=POW2,
        compares="self.sigmoid.min() < 0",
        allowed=lambda _: with_entry("sigmoid", 255, 0),
        refused=lambda _: with_entry("sigmoid", 255, -1),
        says=r"tables\.sigmoid: entries must lie in 0\.\.256",
        raises=TapeError,
    ),
    Boundary(
        file=POW2,
        compares="self.sigmoid.max() > 1 << self.formats.forget_fb",
        allowed=lambda _: with_entry("sigmoid", 0, 256),
        refused=lambda _: with_entry("sigmoid", 0, 257),
        says=r"tables\.sigmoid: entries must lie in 0\.\.256",
        raises=TapeError,
    ),
    Boundary(
        file=POW2,
        compares="self.silu.min() < -INT16_MAX",
        allowed=lambda _: [
            with_entry("silu", 5, -32767, "signed"),
            *(with_entry("silu", 5, -32768, gate) for gate in ("hard", "sigmoid")),
        ],
        refused=lambda _: with_entry("silu", 5, -32768, "signed"),
        says=r"tables\.silu: entries must be at least -32767 with the signed gate",
        raises=TapeError,
    ),
    *both_ends(
        POW2,
        "0 <= self.embedding_shift <= 8",
        lambda value: replace(tape(), embedding_shift=value),
        (0, 8),
        r"embedding_shift must lie in 0\.\.8",
        TapeError,
    ),
    *(
        Boundary(
            file=POW2,
            compares=compares,
            allowed=lambda _, value=value: with_trit(value),
            refused=lambda _, value=value: with_trit(2 * value),
            says=r"trits must be -1, 0 or \+1",
            raises=TapeError,
        )
        for compares, value in (("trits.min() < -1", -1), ("trits.max() > 1", 1))
    ),
    *both_ends(
        POW2,
        "MULTIPLIER_MIN <= matrix.multiplier <= MULTIPLIER_MAX",
        lambda value: with_matrix(1, 0, multiplier=value),
        (128, 256),
        r"layer 0 output, matrix o: multiplier must lie in 128\.\.256",
        TapeError,
    ),
    *(
        # 9 - a - fb lies in -5..13.
        Boundary(
            file=POW2,
            compares="SHIFT_BASE_MIN <= base <= SHIFT_BASE_MAX",
            allowed=lambda _, a=allowed, where=where, gate=gate: with_matrix(
                *where, gate, exponent=a
            ),
            refused=lambda _, a=refused, where=where, gate=gate: with_matrix(
                *where, gate, exponent=a
            ),
            says=rf"exponent must lie in {low}\.\.{high}, got {refused}: the scale of its weights",
            raises=TapeError,
        )
        for where, gate, low, high in (
            ((0, 0), "hard", -8, 10),
            ((0, 1), "hard", -10, 8),
            ((0, 1), "sigmoid", -8, 10),
            ((4, 0), "signed", -13, 5),
        )
        for allowed, refused in ((low, low - 1), (high, high + 1))
    ),
    *absmax_field(
        "limits[0] <= value <= limits[1]",
        "lower_bounds",
        lambda value: np.array([[0, 1, 2], [3, value, 4]]),
        (0, 1 << 20),
        r"lower_bounds: must lie in 0\.\.1048576, got VALUE",
    ),
    *(
        row
        for field, place in (
            ("layer 1 gates/norm_fb", "layer 1 gates"),
            ("head/norm_fb", "head"),
        )
        for row in absmax_field(
            "limits[0] <= value <= limits[1]",
            field,
            last_of(1),
            (-14, 38),
            rf"{place}: fraction bits of a gain must lie in -14\.\.38, got VALUE",
        )
    ),
    *(
        row
        for field, place in (
            *((f"layer 0 gates/{role}/constants", "layer 0 gates") for role in "ifg"),
            ("layer 1 glu/gate_up/constants", "layer 1 glu"),
            ("layer 1 down/down/constants", "layer 1 down"),
        )
        for row in absmax_field(
            "limits[0] <= value <= limits[1]",
            field,
            lambda value: [value, 1 << 23, 0],
            (-14, 38),
            rf"{place}: fraction bits of a gain must lie in -14\.\.38, got VALUE",
        )
    ),
    *absmax_field(
        "limits[0] <= value <= limits[1]",
        "layer 0 gates/f/constants",
        lambda value: [0, value, 0],
        (1 << 23, (1 << 24) - 1),
        r"layer 0 gates, matrix f: mantissa must lie in 8388608\.\.16777215, got VALUE",
    ),
    *absmax_field(
        "limits[0] <= value <= limits[1]",
        "head/head/constants",
        lambda value: [0, 1 << 23, value],
        (-64, 16),
        r"head, matrix head: exponent must lie in -64\.\.16, got VALUE",
    ),
    *(
        Boundary(
            file=ABSMAX,
            compares="low <= self.embedding_fb <= high",
            allowed=lambda folder, value=allowed: absmax_tape(folder, {}, embedding_fb=value),
            refused=lambda folder, value=refused: absmax_tape(folder, {}, embedding_fb=value),
            says=rf"embedding_fb must lie in 11\.\.40, got {refused}$",
            raises=TapeError,
        )
        for allowed, refused in ((11, 10), (40, 41))
    ),
    *absmax_field(
        "limits[0] <= value <= limits[1]",
        "sigmoid/values",
        one_value(4095),
        (0, (1 << 24) - 1),
        r"sigmoid: (values|a value and its rise) must lie in 0\.\.1677721[56], got",
    ),
    *(
        Boundary(
            file=ABSMAX,
            compares="limits[0] <= value <= limits[1]",
            allowed=lambda folder, pair=allowed: with_sigmoid(folder, *pair),
            refused=lambda folder, pair=refused: with_sigmoid(folder, *pair),
            says=rf"sigmoid: {what} must lie in 0\.\.{limit}, got {limit + 1}$",
            raises=TapeError,
        )
        for what, allowed, refused, limit in (
            ("rises", (0, 32767), (0, 32768), 32767),
            ("a value and its rise", ((1 << 24) - 9, 9), ((1 << 24) - 9, 10), 1 << 24),
        )
    ),
    *(
        row
        for segment in ("layer 0 gates", "layer 1 down", "head")
        for what, place, limits in (
            ("mantissa", 0, (1 << 23, (1 << 24) - 1)),
            ("exponent", 1, (-96, 0)),
        )
        for row in absmax_field(
            "limits[0] <= value <= limits[1]",
            f"{segment}/offset",
            lambda value, place=place: [value, -60] if place == 0 else [1 << 23, value],
            limits,
            rf"{segment}: {what} of the offset must lie in {limits[0]}\.\.{limits[1]}, got VALUE",
        )
    ),
    *both_ends(
        SECTION,
        "1 <= size <= LARGEST_BYTES",
        lambda value: sections.section_bytes(
            {"kind": "tokenizers", "form": "file", "bytes": value}
        ),
        (1, 1 << 26),
        r"tokenizer: bytes must be an integer in 1\.\.67108864",
    ),
    Boundary(
        file=SECTION,
        compares="(found := data.count(_END)) > _MOST_ENTRIES",
        allowed=lambda _: of_pieces(5),
        refused=lambda _: of_pieces(6),
        says="6 pieces, at most 5 can be",
    ),
    Boundary(
        file=SECTION,
        compares="len(data) > 4 * _MOST_ENTRIES",
        allowed=lambda _: of_numbers(5),
        refused=lambda _: of_numbers(6),
        says="24 bytes of numbers, not 4 for each of at most 5",
    ),
    *(
        Boundary(
            file=SECTION,
            compares="0 <= number < 1 << 32",
            allowed=lambda _, number=allowed: taken_apart(number),
            refused=lambda _, number=refused: taken_apart(number),
            says=f"id {refused}: kept as it is",
        )
        for allowed, refused in ((0, -1), ((1 << 32) - 1, 1 << 32))
    ),
    Boundary(
        file=SECTION,
        compares="max(wholes, default=-1) >= len(pieces)",
        allowed=lambda _: of_merge(1),
        refused=lambda _: of_merge(2),
        says="merges of pieces that are not there, or too long",
    ),
    Boundary(
        file=SECTION,
        compares="sum((len(pieces[whole]) for whole in wholes)) > LARGEST_BYTES",
        allowed=lambda _: of_merged(10),
        refused=lambda _: of_merged(11),
        says="merges of pieces that are not there, or too long",
    ),
    Boundary(
        file=SECTION,
        compares="at > len(data)",
        allowed=lambda _: cut_off(3),
        refused=lambda _: cut_off(4),
        says="a column is cut off",
    ),
    Boundary(
        file=SECTION,
        compares="writing < 0",
        allowed=lambda _: of_writing(0),
        refused=lambda _: of_writing(-1),
        says="its first column is malformed",
    ),
    Boundary(
        file=SECTION,
        compares="len(set(pieces)) < len(pieces)",
        allowed=lambda _: of_texts(b"a", b"b", b"c"),
        refused=lambda _: of_texts(b"a", b"b", b"a"),
        says="a piece occurs twice",
    ),
]
