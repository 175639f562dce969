"""Text: what is read, how it is split and cut."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from pydoc_data import topics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmfree.text.sources
from mmfree.errors import InputError
from mmfree.text.corpus import (
    LEAST_WORDS,
    Piece,
    Text,
    python_documentation,
    python_prose,
    read_text,
    tokenize,
)
from mmfree.text.loading import first_tokens, load_corpus
from mmfree.text.shard_writing import write_shards
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.text.windows import streams, training_windows
from tests.support.subwords import TEXT


def test_built_in_corpus_is_large_and_the_same_each_time() -> None:
    text = python_documentation()
    assert len(text) > 300_000
    assert text == python_documentation()
    assert 0 not in text


def test_the_last_tenth_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 60)
    (tmp_path / "b").write_bytes(b"y" * 39)
    corpus = load_corpus([tmp_path / "a", tmp_path / "b"])
    assert corpus.name == f"{tmp_path / 'a'}, {tmp_path / 'b'}"
    assert corpus.training.tobytes() == b"x" * 60 + b"\n" + b"y" * 29
    assert corpus.validation.tobytes() == b"y" * 10


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InputError, match=r"empty\.txt: the file is empty; text is needed"):
        read_text(tmp_path / "empty.txt")
    with pytest.raises(
        InputError, match=r"latin\.txt: not UTF-8 text: byte 0xe9 at offset 3; convert"
    ):
        read_text(tmp_path / "latin.txt")
    with pytest.raises(InputError, match=r"none\.txt: cannot be read: No such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read_text(tmp_path)


def test_a_text_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 99)
    message = (
        r"a: too short: 90 tokens for training and 9 held out \(a tenth\), but a sequence has 10"
    )
    with pytest.raises(InputError, match=message):
        load_corpus([tmp_path / "a"], minimum=10)
    load_corpus([tmp_path / "a"], minimum=9)


def test_windows_predict_the_next_byte() -> None:
    text = np.arange(100, dtype=np.uint8)
    batch = training_windows(np.random.default_rng(0), text, 7, 13)
    assert (batch.ids[:, 0] == 0).all()
    assert np.array_equal(batch.ids[:, 1:], batch.targets[:, :-1])
    assert (np.diff(batch.targets, axis=1) == 1).all()
    assert batch.mask.all()


def test_a_window_may_be_the_whole_text() -> None:
    batch = training_windows(np.random.default_rng(0), np.arange(5, dtype=np.uint8), 3, 5)
    assert batch.targets.tolist() == [[0, 1, 2, 3, 4]] * 3


@given(st.integers(1, 5000), st.integers(1, 50), st.integers(1, 9))
def test_streams_hold_every_byte_once(size: int, shortest: int, most: int) -> None:
    text = np.random.default_rng(size).integers(1, 256, size).astype(np.uint8)
    batch = streams(text, shortest=shortest, most=most)
    assert batch.ids.shape[0] <= most
    assert batch.targets[batch.mask].astype(np.uint8).tobytes() == text.tobytes()
    assert (batch.ids[:, 0] == 0).all()
    assert np.array_equal(batch.ids[:, 1:], batch.targets[:, :-1])


def test_the_cut_is_at_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 16 + "🙂", encoding="utf-8")
    corpus = load_corpus([tmp_path / "a.txt"])
    assert corpus.training.tobytes() == b"x" * 16
    assert corpus.validation.tobytes().decode() == "🙂"
    assert corpus.validation_bytes == 4


def test_pieces_of_a_text_are_the_text_whatever_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(TEXT, encoding="utf-8")
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    whole = load_corpus(paths)
    monkeypatch.setattr(mmfree.text.sources, "PIECE_BYTES", 100)
    cut = load_corpus(paths)
    assert cut.digest == whole.digest
    assert cut.validation.tobytes() == whole.validation.tobytes()
    joined = whole.training.tobytes() + whole.validation.tobytes()
    assert joined.decode() == TEXT + "\n" + TEXT


def test_start_tokens_between_documents_are_read_and_not_scored() -> None:
    batch = streams(np.array([9, 1, 2, 9, 3], dtype=np.uint16), start=9)
    assert batch.ids.tolist() == [[9, 9, 1, 2, 9]]
    assert batch.targets[batch.mask].tolist() == [1, 2, 3]


@given(
    st.lists(st.text(alphabet="ab\n é東🙂", min_size=1, max_size=60), min_size=1, max_size=3),
    st.integers(8, 13),
)
def test_one_text_is_cut_once_at_the_start_of_a_character(texts: list[str], size: int) -> None:
    """However it is cut into files and pieces, and wherever the cut falls in them."""
    whole = "\n".join(texts).encode()
    cut = len(whole) - len(whole) // 10
    # No byte of UTF-8 but the first of a character is outside 0x80..0xBF.
    while cut < len(whole) and 0x80 <= whole[cut] < 0xC0:
        cut -= 1
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(mmfree.text.sources, "PIECE_BYTES", size)
        paths = [Path(folder) / f"{number}.txt" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_bytes(text.encode())
        text = Text.of(paths)
        assert text.num_bytes == len(whole)
        found = list(text.pieces())
    sides = [
        "".join(piece.text for piece in found if piece.held_out == side).encode()
        for side in (False, True)
    ]
    assert sides == [whole[:cut], whole[cut:]]
    assert [piece.held_out for piece in found] == sorted(piece.held_out for piece in found)
    assert [piece.continues for piece in found] == [False] + [True] * (len(found) - 1)
    assert all(piece.text for piece in found)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 33])
def test_texts_are_tokenized_sixteen_at_a_time(count: int) -> None:
    sizes: list[int] = []

    class Watched(ByteTokenizer):
        def encode_texts(self, texts: list[str]) -> list[np.ndarray]:
            sizes.append(len(texts))
            return super().encode_texts(texts)

    given_pieces = [Piece(f"text {n}", n % 3 == 0, continues=n % 2 == 1) for n in range(count)]
    for begin in (False, True):
        found = list(tokenize(iter(given_pieces), Watched(), begin=begin))
        assert [piece for piece, _ in found] == given_pieces
        for piece, ids in found:
            first = b"\0" if begin and not piece.continues else b""
            assert (ids.dtype, ids.tobytes()) == (np.uint8, first + piece.text.encode())
    most = [16] * (count // 16) + [count % 16] * (count % 16 > 0)
    assert [size for size in sizes if size] == most * 2


def test_a_side_too_short_is_refused_whichever_it_is(tmp_path: Path) -> None:
    """Documents: a long one is held out, and a short one for training."""
    texts = [f"{n} " * 30 for n in range(99)]
    held_out = next(
        text for text in texts if hashlib.sha256(text.encode()).digest() < b"\x19\x99\x99"
    )
    short = next(text for text in "abc" if hashlib.sha256(text.encode()).digest() > b"\x19\x99\x9a")
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in (held_out, short)))
    # A start token and a byte.
    assert len(load_corpus([path], minimum=2).training) == 2
    with pytest.raises(InputError, match=r"too short: 2 tokens for training and \d\d held out"):
        load_corpus([path], minimum=3)
    assert load_corpus([path]).validation.tobytes() == b"\0" + held_out.encode()
    assert Text.of([path]).num_bytes is None


def test_the_built_in_text_is_all_topics_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    text = python_documentation().decode()
    lengths = [len(topic.strip()) for topic in topics.topics.values()]
    assert len(text) == sum(lengths) + 2 * (len(lengths) - 1)
    assert (Text(()).num_bytes, Text(()).name) == (len(text.encode()), "Python documentation")
    monkeypatch.setattr(topics, "topics", {"b": " zwö\n", "c": "three", "a": "\none "})
    assert python_documentation().decode() == "one\n\nzwö\n\nthree"


def test_the_first_tokens_are_of_both_sides_and_no_more_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"story": f"{n:03}"}) + "\n" for n in range(64)) + "no JSON")
    whole = b"".join(b"\0%03d" % n for n in range(64))
    # Sixteen texts are read at a time.
    for count in (1, 3, 4, 5, 63, 64, 65, 128):
        ids, name = first_tokens([path], ByteTokenizer(), count, field="story")
        assert ids.tobytes() == whole[:count]
        assert name == str(path)
    with pytest.raises(InputError, match="line 65: not valid JSON"):
        first_tokens([path], ByteTokenizer(), 257, field="story")
    (tmp_path / "b.txt").write_text(TEXT)
    text = first_tokens([tmp_path / "b.txt"], ByteTokenizer(), 10**9)[0]
    assert text.tobytes().decode() == TEXT, "one text, without start tokens"
    write_shards(Text.of([tmp_path / "b.txt"]), ByteTokenizer(), tmp_path / "shards")
    ids, name = first_tokens([tmp_path / "shards"], ByteTokenizer(), 7)
    held_out = load_corpus([tmp_path / "b.txt"]).validation
    assert (ids.tolist(), name) == (held_out[:7].tolist(), str(tmp_path / "shards"))


@pytest.mark.parametrize("side", [False, True])
def test_a_plain_file_among_documents_is_on_the_side_of_its_first_piece(
    side: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmfree.text.sources, "PIECE_BYTES", 8)
    lines = [f"line {number:02}"[1:] + "\n" for number in range(60)]
    first = next(line for line in lines if is_held_out(line) == side)
    whole = [first, *(line for line in lines if line != first)]
    assert {is_held_out(line) for line in whole} == {False, True}
    (tmp_path / "a.txt").write_text("".join(whole))
    (tmp_path / "b.jsonl").write_text('{"text": "a record"}\n')
    found = list(Text.of([tmp_path / "a.txt", tmp_path / "b.jsonl"]).pieces())
    assert [piece.text for piece in found] == [*whole, "a record"]
    assert [piece.held_out for piece in found] == [side] * 60 + [is_held_out("a record")]
    assert [piece.continues for piece in found] == [False] + [True] * 59 + [False]


def is_held_out(text: str) -> bool:
    """By the first 8 bytes of its sha256: less than a tenth of 2^64."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) * 10 < 1 << 64


TOPICS = {
    "b": """\
The "if" statement
******************

The "if" statement is used for
conditional *execution* of   one suite.

   if_stmt ::= "if" assignment_expression ":" suite and some more words.

* An item of a list that is a sentence by itself.

1. The first of several steps that are numbered here.

   >>> This is an example of a prompt and no prose at all.

For example this opens an example that is left out:
""",
    "a": """\
The "if" statement is used for conditional execution of one suite.

Too few words to be prose here.

Changed in version 3.8: Something else was done before that version.

See also: Another chapter that says much more about all of this.

lower case at the start of what is no sentence.

Exactly eight words are enough for a paragraph.
""",
}


def test_paragraphs_of_sentences_are_kept_once_and_a_line_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topics, "topics", TOPICS)
    assert LEAST_WORDS == 8
    assert python_prose().splitlines() == [
        'The "if" statement is used for conditional execution of one suite.',
        "Exactly eight words are enough for a paragraph.",
        "An item of a list that is a sentence by itself.",
        "The first of several steps that are numbered here.",
    ]


def test_there_is_enough_to_learn_from() -> None:
    text = python_prose()
    assert 100_000 < len(text.encode()) < 400_000
    assert text == python_prose()
    lines = text.splitlines()
    assert len(set(lines)) == len(lines) > 400
    assert not any(mark in text for mark in ("***", "::=", ">>>", "  "))
