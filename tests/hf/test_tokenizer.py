"""Tokenizers under transformers: token for token those of mmfree."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer

from mmfree.hf.tokenizer import hugging_face_tokenizer
from mmfree.text.subword import JsonTokenizer
from mmfree.text.task_tokenizers import AdditionTokenizer
from mmfree.text.tokenizer import ByteTokenizer

BYTES = hugging_face_tokenizer(ByteTokenizer())
assert BYTES is not None


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_bytes(text: str) -> None:
    ids = ByteTokenizer().encode(text)
    assert BYTES(text).input_ids == ids
    assert BYTES(text, add_special_tokens=False).input_ids == ids[1:]
    assert BYTES.decode(ids, skip_special_tokens=True) == text


@given(st.binary())
def test_any_bytes_are_decoded_as_mmfree_does(data: bytes) -> None:
    rows = [byte for byte in data if byte]
    assert BYTES.decode(rows) == ByteTokenizer().decode(rows)


def test_every_byte_is_its_id() -> None:
    assert sorted(BYTES.get_vocab().values()) == list(range(256))
    assert (BYTES.bos_token_id, BYTES.pad_token_id, BYTES.eos_token_id) == (0, 0, None)
    assert BYTES(["a", "abc"], padding=True).attention_mask == [[0, 0, 1, 1], [1, 1, 1, 1]], (
        "on the left"
    )


def test_a_saved_folder_needs_no_code_of_ours(tmp_path: Path) -> None:
    BYTES.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("Āé a").input_ids == ByteTokenizer().encode("Āé a")
    assert loaded.padding_side == "left"


class Trained:
    """A byte-pair encoding as mmfree has them: a ``tokenizer.json`` and a start token."""

    kind = "tokenizers"
    feeds_back = True

    def __init__(self, special: list[str], start: int) -> None:
        self.raw = RustTokenizer(models.BPE())
        self.raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.raw.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        self.raw.train_from_iterator(["the quick brown fox and the quick red fox " * 20], trainer)
        self.raw.encode_special_tokens = True
        self.start = start

    def encode(self, text: str) -> list[int]:
        return [self.start, *self.raw.encode(text, add_special_tokens=False).ids]

    def to_dict(self) -> dict[str, Any]:
        data = json.dumps(json.loads(self.raw.to_str())).encode()
        return {"kind": self.kind, "data": base64.b64encode(zlib.compress(data)).decode("ascii")}


@pytest.mark.parametrize("text", ["a\0b", "\0", "<|start|>", "a <|start|>\0b"])
def test_no_text_of_bytes_becomes_the_start_token(text: str, tmp_path: Path) -> None:
    BYTES.save_pretrained(tmp_path)
    wanted = [0, *text.replace("\0", "\ufffd").encode()]
    for tokenizer in (BYTES, AutoTokenizer.from_pretrained(tmp_path)):
        assert tokenizer(text).input_ids == wanted
        assert tokenizer(text, add_special_tokens=False).input_ids == wanted[1:]


def word_level(special: bool = True) -> JsonTokenizer:
    raw = RustTokenizer(
        models.WordLevel({"[UNK]": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "c": 5}, "[UNK]")
    )
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if special:
        raw.add_special_tokens(["<s>", "</s>"])
    return JsonTokenizer(raw.to_str())


def unigram() -> JsonTokenizer:
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789<>/ .,\n\té東京"
    pieces += [(letter, -3.0) for letter in letters]
    raw = RustTokenizer(models.Unigram(pieces, unk_id=0))
    raw.add_special_tokens(["<s>", "</s>"])
    return JsonTokenizer(raw.to_str())


def ignoring_merges() -> JsonTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "</s>", *alphabet]
    raw = RustTokenizer(
        models.BPE({piece: number for number, piece in enumerate(pieces)}, [], ignore_merges=True)
    )
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"</?s>"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<s>", "</s>"])
    return JsonTokenizer(raw.to_str())


@pytest.mark.parametrize("made", [word_level, unigram, ignoring_merges])
def test_a_tokenizer_that_makes_control_tokens_of_text_is_refused(
    made: Callable[[], JsonTokenizer],
) -> None:
    """mmfree encodes such a text without them, which transformers cannot be told to do."""
    with pytest.raises(InputError, match=r"transformers would encode '.*<.?s>.*' as \["):
        hugging_face_tokenizer(made())


def test_trained_tokenizers() -> None:
    trained = Trained(["<|endoftext|>"], 0)
    converted = hugging_face_tokenizer(trained)
    assert converted is not None
    # The last one spells a control token, which as text it must not become.
    for text in ("the quick fox", "Ünïcode\n 12", "a <|endoftext|> b"):
        assert converted(text).input_ids == trained.encode(text)
    assert converted.bos_token == "<|endoftext|>"
    assert (
        converted.decode(trained.encode("the quick fox"), skip_special_tokens=True)
        == "the quick fox"
    )


def test_a_start_token_after_the_vocabulary_gets_a_name() -> None:
    size = Trained([], 0).raw.get_vocab_size()
    trained = Trained([], size)
    converted = hugging_face_tokenizer(trained)
    assert converted is not None
    assert converted("the fox").input_ids == trained.encode("the fox")
    assert (converted.bos_token, converted.bos_token_id) == ("<|start|>", size)
    with pytest.raises(
        InputError, match=f"id {size + 1} starts a sequence, but the next free id is {size}"
    ):
        hugging_face_tokenizer(Trained([], size + 1))


def test_a_start_token_that_transformers_cannot_use_is_named() -> None:
    """Its library separates the parts of a template by spaces."""
    with pytest.raises(InputError, match=r"the start token 'a text' cannot be put .* name without"):
        hugging_face_tokenizer(Trained(["a text"], 0))


def test_a_conversion_that_would_differ_is_refused() -> None:
    trained = Trained(["<|endoftext|>"], 0)
    # As if mmfree wrote everything in small letters, and transformers did not.
    lower = lambda text: Trained.encode(trained, text.lower())  # noqa: E731
    trained.encode = lower  # type: ignore[method-assign]
    message = "transformers would encode 'The 12 quick.*; use a tokenizer whose control tokens"
    with pytest.raises(InputError, match=message):
        hugging_face_tokenizer(trained)


def test_a_task_has_none() -> None:
    assert hugging_face_tokenizer(AdditionTokenizer()) is None


def test_settings_of_the_file_do_not_shorten_or_pad_a_text() -> None:
    """mmfree encodes whole texts, and blanks before punctuation stay."""
    trained = Trained(["<|endoftext|>"], 0)
    trained.raw.enable_truncation(max_length=3)
    trained.raw.enable_padding(length=40, pad_id=7)
    saved = trained.to_dict()
    trained.raw.no_truncation()
    trained.raw.no_padding()
    trained.to_dict = lambda: saved  # type: ignore[method-assign]
    converted = hugging_face_tokenizer(trained)
    assert converted is not None
    text = "the quick fox , and the red one ."
    assert converted(text).input_ids == trained.encode(text)
    assert converted.decode(trained.encode(text), skip_special_tokens=True) == text
    assert converted("a", "b").input_ids == [*trained.encode("a"), *trained.encode("b")[1:]]
    assert (converted.padding_side, converted.pad_token_id) == ("left", 0)
