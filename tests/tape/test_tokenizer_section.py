"""Tokenizers on a version 2 tape.

Every file comes back bit for bit, small where its columns are known, and no damaged section is
read.
"""

from __future__ import annotations

import base64
import bz2
import io
import itertools
import json
import struct
import zlib
from contextlib import suppress
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from mmfree.errors import InputError
from mmfree.files.compressed import pack_bytes
from mmfree.tape.tokenizer_section import section_bytes, tokenizer_of_section, tokenizer_section
from mmfree.text.tokenizers import tokenizer_from_dict
from tests.support.subwords import LINES, TEXT, bpe, pieces, sentencepiece_model, words

PIECES = [
    ("<unk>", 0.0, 2),
    ("", -0.0, None),
    ("ab", -1.5, 1),
    ("é" * 200, float("nan"), 127),
    ("\n", -1e9, 6),
]


def packed(kind: str, file: bytes) -> tuple[dict[str, Any], bytes]:
    """Entry and section, after the way there and back."""
    entry, section = tokenizer_section({"kind": kind, "data": file})
    assert section_bytes(json.loads(json.dumps(entry))) == len(section)
    assert tokenizer_of_section(entry, section) == {"kind": kind, "data": file}
    return entry, section


def message(piece: bytes, score: float, kind: int | None) -> bytes:
    """A piece as protocol buffers write it."""
    body = b"\x0a" + varint(len(piece)) + piece + b"\x15" + struct.pack("<f", score)
    if kind is not None:
        body += bytes([0x18, kind])
    return b"\x0a" + varint(len(body)) + body


def varint(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size % 128 + 128]) + varint(size // 128)


def model_of(records: list[tuple[str, float, int | None]]) -> bytes:
    return b"".join(message(piece.encode(), score, kind) for piece, score, kind in records)


def json_of(indent: int | None = 2, ascii_only: bool = False, **model: Any) -> bytes:
    """A tokenizer.json: ``bpe()``, changed."""
    data = json.loads(bpe().json)
    data["model"] |= model
    separators = (",", ":") if indent is None else None
    return json.dumps(data, indent=indent, ensure_ascii=ascii_only, separators=separators).encode()


@pytest.mark.parametrize("model_type", ["bpe", "unigram", "char", "word"])
def test_trained_sentencepiece_models_are_taken_apart(model_type: str) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        model_type=model_type,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    assert packed("sentencepiece", model.getvalue())[0]["form"] == "columns"


def test_scores_cost_nothing_and_text_stays() -> None:
    """Llama's form: pieces in the order of their scores 0, -1, -2, ..."""
    entry, section = packed("sentencepiece", sentencepiece_model())
    assert entry == {"kind": "sentencepiece", "form": "columns", "bytes": len(section)}
    processor = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    text = b"\0".join(processor.id_to_piece(index).encode() for index in range(400))
    assert len(section) < len(bz2.compress(text, 9)) + 500
    again = tokenizer_from_dict(tokenizer_of_section(entry, section))
    assert again.encode(TEXT) == pieces().encode(TEXT)
    assert again.to_dict() == pieces().to_dict()


@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=150
            ),
            st.floats(width=32),
            st.sampled_from([None, 1, 2, 127]),
        )
    ),
    st.binary(max_size=20).filter(lambda rest: not rest.startswith(b"\x0a")),
)
def test_any_pieces_come_back(records: list[tuple[str, float, int | None]], rest: bytes) -> None:
    assert packed("sentencepiece", model_of(records) + rest)[0]["form"] == "columns"


def test_long_pieces_and_odd_scores() -> None:
    """Lengths of two and of three bytes, a piece of none, -0.0 and not-a-number."""
    assert (
        packed("sentencepiece", model_of([*PIECES, ("x" * 20_000, 1.0, None)]))[0]["form"]
        == "columns"
    )
    assert packed("sentencepiece", b"")[0]["form"] == "columns"


@pytest.mark.parametrize(
    "file",
    [
        model_of([("a\0b", 0, None)]),
        model_of([("a", 0, 0)]),
        model_of(PIECES)[:-3],
        model_of(PIECES)[:-1],
        b"\x0a",
        b"\x0a\xff",
        b"\x0a\x05\x0a\x03abc",
        b"\x0a\x07\x15\0\0\0\0\x0a\0",
        b"\x0a\x87\x00\x0a\x00\x15\0\0\0\0",
        b"\x0a\x09\x0a\x00\x15\0\0\0\0\x20\x05",
        b"\x0a\x7f\x0a\x00\x15\0\0\0\0",
    ],
)
def test_models_laid_out_otherwise_are_kept_as_they_are(file: bytes) -> None:
    """A NUL within a piece, a type of 0, cuts, no score, another order, a longer varint, another
    tag, a length beyond the end.
    """
    assert packed("sentencepiece", file)[0]["form"] == "file"


@given(st.binary(max_size=40), st.sampled_from(["sentencepiece", "tokenizers"]))
def test_any_bytes_come_back(file: bytes, kind: str) -> None:
    packed(kind, file)
    packed(kind, b"\x0a" + file)


@pytest.mark.parametrize(("indent", "ascii_only"), [(2, False), (None, False), (None, True)])
def test_a_tokenizer_json_is_taken_apart(indent: int | None, ascii_only: bool) -> None:
    """As the tokenizers library writes it, indented or not, and in ASCII.

    Merges as pairs and as text.
    """
    file = json_of(indent, ascii_only)
    entry, section = packed("tokenizers", file)
    assert entry["form"] == "columns"
    assert len(section) < 0.8 * len(bz2.compress(file, 9))
    merges = [" ".join(merge) for merge in json.loads(file)["model"]["merges"]]
    assert packed("tokenizers", json_of(indent, ascii_only, merges=merges))[0]["form"] == "columns"
    again = tokenizer_from_dict(tokenizer_of_section(entry, section))
    assert again.encode(TEXT) == bpe().encode(TEXT)


def test_ids_need_no_order() -> None:
    vocabulary = {"b": 7, "a": (1 << 32) - 1, "ab": 0, "é": 3}
    merges = [["a", "b"], ["", "b"], ["ab", ""]]
    assert packed("tokenizers", json_of(vocab=vocabulary, merges=merges))[0]["form"] == "columns"
    assert packed("tokenizers", json_of(vocab={}, merges=[]))[0]["form"] == "columns"


@pytest.mark.parametrize(("left", "form"), [(0, "columns"), (255, "columns"), (256, "file")])
def test_a_cut_of_a_merge_takes_a_byte(left: int, form: str) -> None:
    piece = "é" * 300
    file = json_of(vocab={piece: 0}, merges=[[piece[:left], piece[left:]]])
    assert packed("tokenizers", file)[0]["form"] == form


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab": {"a": -1}},
        {"vocab": {"a": 1 << 32}},
        {"vocab": {"a": True}},
        {"vocab": {"a": 1.0}},
        {"vocab": {"a\0": 1}, "merges": []},
        {"vocab": [["a", -1.5]]},
        {"vocab": {"ab": 0}, "merges": [["a", "c"]]},
        {"vocab": {"ab": 0}, "merges": [["a", "b"], "a b"]},
        {"vocab": {"ab": 0}, "merges": ["a b", ["a", "b"]]},
        {"vocab": {"ab": 0}, "merges": [["ab"]]},
        {"vocab": {"ab": 0}, "merges": [["a", "b", ""]]},
        {"vocab": {"": 0}, "merges": [[]]},
        {"vocab": {"ab": 0}, "merges": [5]},
        {"vocab": {"ab": 0}, "merges": [["a", 5]]},
        {"vocab": {"a" * 300: 0}, "merges": [["a" * 299, "a"]]},
        {"vocab": {"ab": 0}, "merges": None},
    ],
)
def test_models_of_another_kind_are_kept_as_they_are(changes: dict[str, Any]) -> None:
    assert packed("tokenizers", json_of(**changes))[0]["form"] == "file"


def test_other_writings_are_kept_as_they_are() -> None:
    for file in (
        json_of(indent=3),
        json_of() + b"\n",
        json.dumps(words([])).encode(),
        b"[]",
        b"{}",
        b'{"model": 3}',
        b"[" * 100_000,
    ):
        assert packed("tokenizers", file)[0]["form"] == "file"


def test_kinds_without_a_file_have_no_section() -> None:
    for entry in ({"kind": "none"}, {"kind": "bytes"}):
        assert tokenizer_section(entry) == (entry, b"")
        assert section_bytes(entry) == 0
        assert tokenizer_of_section(entry, b"") == entry


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ([], "expected an object, got list"),
        (
            {"kind": []},
            (
                r"kind must be tokenizers, sentencepiece, or bytes or none with nothing beside"
                r" them, got \[\]"
            ),
        ),
        ({"kind": "x"}, "kind must be .* got 'x'"),
        ({"kind": "none", "bytes": 5}, "kind must be .* got 'none'"),
        ({}, "kind must be .* got None"),
        (
            {"kind": "tokenizers"},
            r"kind tokenizers needs form \(columns or file\) and bytes, and nothing else",
        ),
        ({"kind": "tokenizers", "data": "AAAA"}, "needs form .* export the model again"),
        ({"kind": "tokenizers", "form": "zip", "bytes": 3}, "needs form"),
        ({"kind": "sentencepiece", "form": "file", "bytes": 3, "more": 1}, "nothing else"),
        (
            {"kind": "sentencepiece", "form": "file", "bytes": 0},
            r"bytes must be an integer in 1\.\.67108864, got 0",
        ),
        ({"kind": "sentencepiece", "form": "file", "bytes": 3.0}, r"got 3\.0"),
        ({"kind": "sentencepiece", "form": "file", "bytes": True}, "got True"),
        ({"kind": "sentencepiece", "form": "file", "bytes": 1 << 40}, "got 1099511627776"),
    ],
)
def test_entries_of_the_manifest_are_checked(entry: Any, error: str) -> None:
    with pytest.raises(InputError, match=f"tokenizer: .*{error}"):
        section_bytes(entry)


def columns(*contents: bytes) -> bytes:
    return pack_bytes(b"".join(struct.pack("<I", len(column)) + column for column in contents))


def numbers(*values: int) -> bytes:
    """Differences in four planes."""
    steps = [(b - a) % (1 << 32) for a, b in zip((0, *values), values, strict=False)]
    return b"".join(bytes(step >> 8 * plane & 255 for step in steps) for plane in range(4))


HEAD = json.dumps({"writing": 0, "pairs": True, "contents": {"model": {}}}).encode()


def test_the_columns_are_those_of_the_text() -> None:
    """docs/tape.md, made here without the module."""
    model = tokenizer_of_section(
        {"kind": "sentencepiece", "form": "columns"},
        columns(b"a\0bc\0", b"\2\0", numbers(0x3F800000, 0xBF800000), b"rest"),
    )
    assert model["data"] == model_of([("a", 1.0, 2), ("bc", -1.0, None)]) + b"rest"
    file = tokenizer_of_section(
        {"kind": "tokenizers", "form": "columns"},
        columns(HEAD, b"a\0ab\0", numbers(5, 3), numbers(1), b"\1"),
    )
    assert json.loads(file["data"]) == {
        "model": {"vocab": {"a": 5, "ab": 3}, "merges": [["a", "b"]]}
    }


@pytest.mark.parametrize(
    ("kind", "section", "error"),
    [
        ("sentencepiece", b"", "cut off"),
        ("sentencepiece", bz2.compress(bytes((1 << 26) + 1)), "more than 67,108,864 bytes"),
        ("sentencepiece", pack_bytes(b"\1\0"), "a column is cut off"),
        ("sentencepiece", pack_bytes(b"\x05\0\0\0abc"), "a column is cut off"),
        ("sentencepiece", columns(b"a\0"), "1 columns, not 4"),
        ("sentencepiece", columns(b"a\0b", b"\1", numbers(1), b""), "the last piece is cut off"),
        ("sentencepiece", columns(b"b", b"", b"", b""), "the last piece is cut off"),
        (
            "sentencepiece",
            columns(b"a\0", b"\1\1", numbers(1), b""),
            "columns of 1, 2, 1 entries, which belong together",
        ),
        ("sentencepiece", columns(b"a\0", b"\1", numbers(1, 2), b""), "columns of 1, 1, 2 entries"),
        ("sentencepiece", columns(b"a\0", b"\1", b"123", b""), "3 bytes of numbers"),
        (
            "sentencepiece",
            columns(bytes(3 << 20), b"", b"", b""),
            "3,145,728 pieces, at most 2,097,152",
        ),
        ("sentencepiece", columns(b"", b"", bytes(12 << 20), b""), "12,582,912 bytes of numbers"),
        ("tokenizers", columns(b"", b"", b"", b""), "4 columns, not 5"),
        ("tokenizers", columns(HEAD, b"a\0", numbers(1, 2), b"", b""), "columns of 1, 2 entries"),
        (
            "tokenizers",
            columns(HEAD, b"a\0", numbers(1), numbers(0), b""),
            "columns of 1, 0 entries",
        ),
        (
            "tokenizers",
            columns(HEAD, b"a\0", numbers(1), numbers(1), b"\1"),
            "merges of pieces that are not there",
        ),
        (
            "tokenizers",
            columns(HEAD, b"a" * 100_000 + b"\0", numbers(1), bytes(4000), bytes(1000)),
            "or too long",
        ),
        ("tokenizers", columns(HEAD, b"\xff\0", numbers(1), b"", b""), "utf-8"),
        (
            "tokenizers",
            columns(HEAD, b"a\0a\0", numbers(1, 2), b"", b""),
            "a piece occurs twice",
        ),
        ("tokenizers", columns(b"{", b"", b"", b"", b""), "Expecting"),
        ("tokenizers", columns(b"[" * 100_000, b"", b"", b"", b""), "recursion"),
        *[
            (
                "tokenizers",
                columns(head, b"", b"", b"", b""),
                "its first column is malformed",
            )
            for head in (
                b"[]",
                b"{}",
                HEAD.replace(b"0", b"-1"),
                HEAD.replace(b"0", b"true"),
                HEAD.replace(b'{"w', b'{"more": 1, "w'),
                HEAD.replace(b"0", b"9"),
                HEAD.replace(b"{}", b"null"),
                HEAD.replace(b"0", b'"x"'),
                HEAD.replace(b"pairs", b"x"),
            )
        ],
    ],
    ids=itertools.count(),
)
def test_damaged_sections_are_one_error(kind: str, section: bytes, error: str) -> None:
    with pytest.raises(InputError, match=f"^tokenizer: its section is damaged: .*{error}"):
        tokenizer_of_section({"kind": kind, "form": "columns", "bytes": len(section)}, section)


@given(st.data())
def test_random_damage_is_an_error_or_some_file(data: st.DataObject) -> None:
    """Under a bzip2 that holds: nothing but ValueError comes out."""
    kind, file = data.draw(
        st.sampled_from(
            [
                ("sentencepiece", model_of(PIECES)),
                ("tokenizers", json_of(vocab={"a": 0, "ab": 1}, merges=[["a", "b"]])),
            ]
        )
    )
    entry, section = tokenizer_section({"kind": kind, "data": file})
    contents = bytearray(bz2.decompress(section))
    for _ in range(data.draw(st.integers(1, 3))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        assert isinstance(tokenizer_of_section(entry, pack_bytes(bytes(contents)))["data"], bytes)


def test_the_file_itself_is_a_form_too() -> None:
    assert tokenizer_of_section({"kind": "tokenizers", "form": "file"}, pack_bytes(b"{}")) == {
        "kind": "tokenizers",
        "data": b"{}",
    }
    with pytest.raises(InputError, match="its section is damaged"):
        tokenizer_of_section(
            {"kind": "tokenizers", "form": "file"}, zlib.compress(base64.b64encode(b"{}"))
        )
