"""Text: what is read, how it is split and cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmfree.text.sources
from mmfree.errors import InputError
from mmfree.text.corpus import python_documentation, read_text
from mmfree.text.loading import load_corpus
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
