"""Subword tokenizers lose nothing, make no control token of text, and name files that are none."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

import mmfree.text.tokenizers
from mmfree.errors import InputError
from mmfree.files import compressed
from mmfree.text.corpus import Text
from mmfree.text.subword import JsonTokenizer, SentencePieceTokenizer, train_bpe
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.text.tokenizers import find_tokenizer, load_tokenizer, tokenizer_from_dict
from tests.support.subwords import (
    ODD_TEXTS,
    TEXT,
    bpe,
    pieces,
    sentencepiece_model,
    words,
    write_gpt2_files,
)

BOTH = pytest.mark.parametrize("make", [bpe, pieces], ids=["bpe", "sentencepiece"])


@BOTH
def test_texts_survive(make: Callable[[], TextTokenizer]) -> None:
    tokenizer = make()
    for text in (TEXT, *ODD_TEXTS):
        ids = tokenizer.encode(text)
        assert ids[0] == tokenizer.start
        assert tokenizer.start not in ids[1:]
        assert max(ids) < tokenizer.vocab_size == tokenizer.head_size
        assert tokenizer.decode(ids[1:]) == text
    assert len(tokenizer.encode(TEXT)) < len(TEXT) / 2


@given(st.text(max_size=30))
def test_any_text_survives_the_trained_one(text: str) -> None:
    assert bpe().decode(bpe().encode(text)[1:]) == text


@BOTH
def test_a_tokenizer_is_restored_from_its_data(make: Callable[[], TextTokenizer]) -> None:
    tokenizer = make()
    data = json.loads(json.dumps(tokenizer.to_dict()))
    again = tokenizer_from_dict(data)
    assert type(again) is type(tokenizer)
    assert again.to_dict() == data, "kept as it was, not compressed again"
    assert again.encode(TEXT) == tokenizer.encode(TEXT)


@BOTH
def test_many_texts_at_once_are_each_by_itself(make: Callable[[], TextTokenizer]) -> None:
    found = make().encode_texts(ODD_TEXTS)
    assert [ids.dtype for ids in found] == [np.uint16] * len(ODD_TEXTS)
    assert [ids.tolist() for ids in found] == [make().encode(text)[1:] for text in ODD_TEXTS]


def test_the_start_token_is_the_one_that_is_named_or_one_more() -> None:
    plain = JsonTokenizer(json.dumps(words([])))
    assert (plain.start, plain.vocab_size) == (6, 7)
    assert plain.decode([1, 6, 2]) == "bc"
    ends = JsonTokenizer(json.dumps(words(["</s>", "<s>"])))
    assert (ends.start, ends.vocab_size) == (7, 8)
    both = JsonTokenizer(json.dumps(words(["<|endoftext|>", "<bos>"])))
    assert both.start == 7, "the order of START_TOKENS, not of the file"


def test_what_a_post_processor_puts_in_front_comes_first() -> None:
    data = words(["<s>", "[CLS]"])
    special = {"[CLS]": {"id": "[CLS]", "ids": [7], "tokens": ["[CLS]"]}}
    single = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }
    tokenizer = JsonTokenizer(json.dumps(data))
    assert tokenizer.start == 7
    assert tokenizer.encode("bc") == [7, 1, 2]


def test_a_large_vocabulary_takes_four_bytes() -> None:
    data = words([])
    data["model"]["vocab"]["z"] = 70_000
    (ids,) = JsonTokenizer(json.dumps(data)).encode_texts(["zb"])
    assert (ids.dtype, ids.tolist()) == (np.uint32, [70_000, 1])


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    assert isinstance(load_tokenizer("bytes"), ByteTokenizer)
    for folder in ("json", "own", "pair", "model"):
        (tmp_path / folder).mkdir()
    (tmp_path / "json" / "tokenizer.json").write_text(bpe().json, encoding="utf-8")
    (tmp_path / "own" / "tokenizer.json").write_text(json.dumps(bpe().to_dict()))
    write_gpt2_files(tmp_path / "pair")
    for name in ("json", "json/tokenizer.json", "own", "pair"):
        tokenizer = load_tokenizer(str(tmp_path / name))
        assert (tokenizer.start, tokenizer.vocab_size) == (0, 400), name
        assert tokenizer.encode(TEXT) == bpe().encode(TEXT), name
    (tmp_path / "model" / "my.model").write_bytes(sentencepiece_model())
    for name in ("model", "model/my.model"):
        assert load_tokenizer(str(tmp_path / name)).encode(TEXT) == pieces().encode(TEXT)


def test_files_that_are_no_tokenizer_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"version": "1.0"}')
    (tmp_path / "b.json").write_bytes(b"\xff\xfe{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "c.model").write_bytes(b"no protobuf")
    (tmp_path / "d.json").write_text('{"kind": "addition"}')
    (tmp_path / "e.json").write_text('{"kind": "tokenizers", "data": "AAAA"}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "vocab.json").write_text("[]")
    (tmp_path / "pair" / "merges.txt").write_text("x")
    for name, message in {
        "a.json": r"a\.json: no tokenizer\.json of the tokenizers library",
        "b.json": r"b\.json: no tokenizer: neither named \.model .* nor a tokenizer\.json: b\.json",
        "deep.json": r"deep\.json: no tokenizer: .*nested too deeply",
        "f\0.json": r"f\\x00\.json': no name that a file can have",
        "\ud800.json": r"ud800\.json': no name that a file can have",
        "c.model": r"c\.model: no SentencePiece model",
        "d.json": r"d\.json: a tokenizer for addition, not for text",
        "e.json": r"e\.json: tokenizer: the data of kind tokenizers is damaged",
        "empty": r"empty: a folder needs a tokenizer\.json, .*; found none",
        "pair": r"pair: vocab\.json and merges\.txt are no byte-pair encoding",
        "none.json": r"none\.json: no such file; a tokenizer is bytes, bpe:SIZE",
    }.items():
        with pytest.raises(InputError, match=message):
            load_tokenizer(str(tmp_path / name))


@pytest.mark.parametrize("kind", ["tokenizers", "sentencepiece"])
@pytest.mark.parametrize(
    "data", [None, 3, "", "not base64!", "AAAA", base64.b64encode(zlib.compress(b"{}")).decode()]
)
def test_damaged_data_is_refused(kind: str, data: object) -> None:
    with pytest.raises(InputError, match=f"the data of kind {kind} is damaged"):
        tokenizer_from_dict({"kind": kind, "data": data})


@BOTH
def test_what_no_model_could_carry_is_refused_at_once(
    make: Callable[[], TextTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not first when a trained model is to be written."""
    make()
    monkeypatch.setattr(compressed, "LARGEST_BYTES", 1000)
    with pytest.raises(
        InputError, match=r"has [\d,]+ bytes; a model carries at most 1,000 of a tokenizer"
    ):
        (
            SentencePieceTokenizer(sentencepiece_model())
            if make is pieces
            else JsonTokenizer(bpe().json)
        )


TRAIN = (
    "from mmfree.text.subword import train_bpe; import sys;"
    " sys.stdout.buffer.write(train_bpe([sys.stdin.buffer.read().decode()], 330).json.encode())"
)


def test_training_is_reproducible() -> None:
    """In two processes, whose hashes differ."""
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", TRAIN],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            input=TEXT.encode(),
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {train_bpe([TEXT], 330).json.encode()}


@BOTH
def test_text_that_is_not_unicode_is_refused(make: Callable[[], TextTokenizer]) -> None:
    with pytest.raises(InputError, match=r"not Unicode: '\\udcff' at character 1 is half of"):
        make().encode("a\udcff")
    with pytest.raises(InputError, match="the text is not Unicode"):
        make().encode_texts(["a", "\ud800"])


def test_a_tokenizer_that_knows_few_characters_says_so() -> None:
    """Without a token for what is unknown the library refuses a text that holds it."""
    data = words([])
    data["model"] = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}
    with pytest.raises(InputError, match=r"cannot encode this text: .*Missing \[UNK\].*byte-level"):
        JsonTokenizer(json.dumps(data)).encode("b")


def test_a_vocabulary_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="at least 257 tokens and at most 16777216, got 256"):
        train_bpe([TEXT], 256)
    with pytest.raises(InputError, match="at most 16777216, got 100000000000000000000"):
        train_bpe([TEXT], 10**20)
    with pytest.raises(
        InputError, match=r"too short for 5000 tokens: it gives (\d+); ask for at most \1"
    ):
        train_bpe([TEXT], 5000)
    assert train_bpe(["ab"], 257).vocab_size == 257


def test_a_sentencepiece_model_without_a_start_token_gets_one() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines()),
        model_writer=model,
        vocab_size=40,
        bos_id=-1,
        minloglevel=2,
    )
    tokenizer = SentencePieceTokenizer(model.getvalue())
    assert (tokenizer.start, tokenizer.vocab_size) == (40, 41)
    assert tokenizer.decode(tokenizer.encode("the cat")) == "the cat"
    assert tokenizer.has_token(42).tolist() == [True] * 40 + [False] * 2


STARTS = ["<s>", "<|begin_of_text|>", "<bos>", "[BOS]", "<|endoftext|>", "<|startoftext|>", "[CLS]"]
"""As docs/data.md lists them."""


def test_usual_start_tokens_are_found_in_the_order_of_the_docs() -> None:
    for number, name in enumerate(STARTS):
        later = STARTS[number + 1 :][::-1]
        tokenizer = JsonTokenizer(json.dumps(words([*later, name])))
        assert tokenizer.start == 6 + len(later), name
        assert tokenizer.encode(f"a{name}")[0] == 6 + len(later)


def test_a_sequence_may_begin_with_another_token() -> None:
    """Which no text becomes from then on: it is spelled in another way, or refused."""
    own = JsonTokenizer(bpe().json)
    text = own.decode([399])
    assert own.encode(text) == [0, 399]
    own.begin_with(399)
    ids = own.encode(text)
    assert (ids[0], own.decode(ids[1:])) == (399, text)
    assert not {0, 399} & set(ids[1:])
    own.begin_with(0)
    assert own.encode(text) == [0, 399]
    other = SentencePieceTokenizer(sentencepiece_model())
    first, *rest = other.encode("the cat")
    other.begin_with(rest[0])
    assert other.encode("") == [rest[0]]
    with pytest.raises(InputError, match=r"makes its control token '.*' of the text 'the cat'"):
        other.encode("the cat")
    other.begin_with(first)
    assert other.encode("the cat") == [first, *rest]


def test_ids_that_are_left_out_are_no_tokens() -> None:
    data = words([])
    data["model"]["vocab"]["z"] = 9
    tokenizer = JsonTokenizer(json.dumps(data))
    assert tokenizer.has_token(12).tolist() == [number in (*range(6), 9) for number in range(12)]
    assert (tokenizer.start, tokenizer.vocab_size, tokenizer.head_size) == (10, 11, 11)
    assert tokenizer.decode([0, 11, 9, 10]) == "az"


def test_texts_are_neither_cut_nor_filled() -> None:
    """Whatever the file asks for."""
    data = words(["<s>", "</s>"])
    data["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    data["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 1,
        "pad_type_id": 0,
        "pad_token": "b",
    }
    tokenizer = JsonTokenizer(json.dumps(data))
    assert tokenizer.start == 6
    found = tokenizer.encode_texts(["abcdef", "a"])
    assert [ids.tolist() for ids in found] == [[0, 1, 2, 3, 4, 5], [0]]


def test_a_trained_vocabulary_begins_with_the_start_token_and_all_bytes() -> None:
    tokenizer = train_bpe([TEXT], 300)
    data = json.loads(tokenizer.json)
    assert (tokenizer.start, data["model"]["vocab"]["<|endoftext|>"]) == (0, 0)
    assert len(data["model"]["merges"]) == 300 - 257
    assert [token["content"] for token in data["added_tokens"]] == ["<|endoftext|>"]
    every = bytes(range(256)).decode("latin-1")
    assert tokenizer.decode(tokenizer.encode(every)[1:]) == every
    assert tokenizer.decode(tokenizer.encode(" a")[1:]) == " a", "no blank is put in front"


def test_a_vocabulary_is_learned_from_the_first_of_the_training_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the piece that reaches the limit nothing is read."""
    monkeypatch.setattr(mmfree.text.tokenizers, "LEARNED_BYTES", 2000)
    assert len(TEXT.encode()) > 3000
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": text}) for text in ("a", TEXT[:1200], "b", TEXT[1200:])]
    path.write_text("\n".join([*lines, "no JSON"]))
    learned = find_tokenizer("bpe:300", Text.of([path]))
    sides = [text for text in ("a", TEXT[:1200], "b", TEXT[1200:]) if not held_out(text)]
    assert learned.to_dict() == train_bpe(sides, 300).to_dict()


def held_out(text: str) -> bool:
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) < 2**64 / 10


@pytest.mark.parametrize("size", ["", "-5", "3e2", "300 ", "٣٠٠", "1234567890"])
def test_a_size_that_is_no_number_is_refused(size: str) -> None:
    with pytest.raises(InputError, match="--tokenizer bpe:SIZE needs a number of tokens such as"):
        find_tokenizer(f"bpe:{size}", Text(()))


def test_a_size_that_cannot_be_names_the_option() -> None:
    with pytest.raises(InputError, match=r"^--tokenizer bpe:256: a byte-pair vocabulary has at le"):
        find_tokenizer("bpe:256", Text(()))


def test_a_folder_may_hold_one_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.model").write_bytes(sentencepiece_model())
    with pytest.raises(InputError, match=r"one \.model file, or .*; found 2 \.model files"):
        load_tokenizer(str(tmp_path))
    write_gpt2_files(tmp_path)
    assert load_tokenizer(str(tmp_path)).to_dict()["kind"] == "tokenizers"
    (tmp_path / "tokenizer.json").write_text('{"kind": "bytes"}')
    assert load_tokenizer(str(tmp_path)).kind == "bytes"
    (tmp_path / "merges.txt").unlink()
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "b.model").unlink()
    assert load_tokenizer(str(tmp_path)).kind == "sentencepiece"


def test_data_that_are_no_text_and_names_that_are_too_long_are_refused() -> None:
    data = {"kind": "tokenizers", "data": compressed.pack_text(b"caf\xe9")}
    with pytest.raises(InputError, match=r"kind tokenizers is damaged: not UTF-8: .* position 3"):
        tokenizer_from_dict(data)
    with pytest.raises(InputError, match=r"^a{300}: cannot be read: File name too long$"):
        load_tokenizer("a" * 300)
