"""Byte-level BPE without the library: what the library makes of every text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from mmfree.errors import InputError
from mmfree.text.byte_pairs.pieces import pieces
from mmfree.text.corpus import python_documentation
from mmfree.text.subword import BytePairTokenizer, JsonTokenizer, json_tokenizer, train_bpe

TEXT = python_documentation().decode()
ODD = (
    "it's we'll I've 'S 'Re  two\n\n three\t \r\nfour\x0b\x1c\x1d 12\u00b2 \u00bd\u2167x\u0660 "
    "na\u00efve \u6771\u4eac \U0001f642\u200d \u00a0\u2003\u3000 \u2028end \u02bcs e\u0301 "
    "\u00df!?.. <|endoftext|> \u0130\u0131 \ufeff  "
)


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=40)
"""Of the characters that Python's Unicode has: the library's is newer."""


@pytest.fixture(scope="module")
def library() -> JsonTokenizer:
    return train_bpe([TEXT[:60_000], ODD], 700)


@pytest.fixture(scope="module")
def own(library: JsonTokenizer) -> BytePairTokenizer:
    return BytePairTokenizer(library.json)


def test_a_corpus_becomes_the_same_ids(library: JsonTokenizer, own: BytePairTokenizer) -> None:
    texts = [TEXT[:120_000], TEXT[200_000:], ODD, "", " ", "\n"]
    for one, other in zip(library.encode_texts(texts), own.encode_texts(texts), strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()
        assert library.decode(one.tolist()) == own.decode(one.tolist())
    assert (library.start, library.vocab_size) == (own.start, own.vocab_size)
    assert library.encode(ODD) == own.encode(ODD)
    assert library.has_token(900).tolist() == own.has_token(900).tolist()


@given(TEXTS)
def test_every_text_does(library: JsonTokenizer, own: BytePairTokenizer, text: str) -> None:
    assert "".join(pieces(text)) == text
    assert library.encode(text) == own.encode(text)


@given(TEXTS | st.text(alphabet="\u00b2\u0660\u216712a \u00e9\u3000\u02bc'", max_size=12))
def test_pieces_are_the_librarys(text: str) -> None:
    """Whether or not pairs are merged in them."""
    before = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    due = [text[start:end] for _, (start, end) in before.pre_tokenize_str(text)]
    assert list(pieces(text)) == due


@given(st.lists(st.integers(0, 699), max_size=30))
def test_every_row_becomes_the_same_text(
    library: JsonTokenizer, own: BytePairTokenizer, rows: list[int]
) -> None:
    assert library.decode(rows) == own.decode(rows)


@given(st.text(alphabet="'sSdDtTlLrRvVeEmM \n\t\x1c\u00a0a1", max_size=30))
def test_contractions_and_white_space_do(
    library: JsonTokenizer, own: BytePairTokenizer, text: str
) -> None:
    assert library.encode(text) == own.encode(text)


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_without_the_library_a_plain_one_is_read(
    library: JsonTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(json_tokenizer(library.json), JsonTokenizer)
    described, ids = library.to_dict(), library.encode(ODD)
    without_library(monkeypatch)
    found = json_tokenizer(library.json, described["data"])
    assert isinstance(found, BytePairTokenizer)
    assert found.encode(ODD) == ids
    assert found.to_dict() == described
    assert json_tokenizer(library.json).to_dict() == described


def changed(where: list[Any], value: Any) -> Callable[[Any], None]:
    def change(contents: Any) -> None:
        for key in where[:-1]:
            contents = contents[key]
        contents[where[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed(["normalizer"], {"type": "NFC"}),
        changed(["pre_tokenizer", "add_prefix_space"], True),
        changed(["pre_tokenizer", "use_regex"], False),
        changed(["decoder"], None),
        changed(["model", "type"], "Unigram"),
        changed(["model", "dropout"], 0.5),
        changed(["model", "ignore_merges"], True),
        changed(["post_processor"], {"type": "ByteLevel"}),
        changed(["added_tokens", 0, "special"], False),
        changed(["added_tokens", 0, "content"], "<unknown>"),
        changed(["model", "merges"], [["a"]]),
    ],
)
def test_another_kind_needs_the_library(
    change: Callable[[Any], None], library: JsonTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = json.loads(library.json)
    change(contents)
    with pytest.raises(InputError):
        BytePairTokenizer(json.dumps(contents))
    without_library(monkeypatch)
    with pytest.raises(ModuleNotFoundError):
        json_tokenizer(json.dumps(contents))


def test_text_must_not_become_the_token_that_begins_it(library: JsonTokenizer) -> None:
    """The library would take it out of text; without it another token cannot begin one."""
    contents = json.loads(library.json)
    contents["added_tokens"].append(
        {**contents["added_tokens"][0], "id": 700, "content": "<other>"}
    )
    own = BytePairTokenizer(json.dumps(contents))
    own.begin_with(700)
    assert own.encode("a")[0] == own.start == 700
    with pytest.raises(
        InputError, match=r"token 70 begins a text, and text becomes it: .* install"
    ):
        own.begin_with(70)
    # A start token that is an ordinary piece, which the library prefers by its name.
    contents["model"]["vocab"]["<s>"] = 701
    with pytest.raises(InputError, match="token 701 begins a text"):
        BytePairTokenizer(json.dumps(contents))
