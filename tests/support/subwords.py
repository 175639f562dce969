"""Small tokenizers of every kind, made here, that tests share."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mmfree.cli.main import main
from mmfree.text.corpus import python_documentation
from mmfree.text.subword import JsonTokenizer, SentencePieceTokenizer, train_bpe
from tests.support.models import SMALL_TEXT

# fmt: off
WORDS = [
    "the", "a", "cat", "dog", "bird", "river", "house", "stone", "old", "red", "small", "under",
    "over", "behind", "sees", "runs", "sleeps", "Zürich", "naïve", "東京", "🙂", "and", "then",
    "never",
]
# fmt: on
LINES = [" ".join(WORDS[(i * j + j) % len(WORDS)] for j in range(1, 9)) + "." for i in range(120)]
TEXT = "\n".join(LINES) + "\n"
ODD_TEXTS = [
    "",
    " ",
    "a",
    " a  b ",
    "tab\tline\n\nend\n",
    "naïve 東京 🙂🙂",
    "never seen: Жук \u0301",
    "\ufffd",
    "<|endoftext|><s></s>",
]


@cache
def bpe() -> JsonTokenizer:
    """A byte-level BPE of 400 tokens."""
    return train_bpe([python_documentation()[:60_000].decode(), TEXT], 400)


@cache
def sentencepiece_model() -> bytes:
    """A Llama-style model: BPE with byte fallback, nothing normalized, a blank in front."""
    return _train_sentencepiece(iter(LINES), 400)


def _train_sentencepiece(lines: Iterator[str], vocab_size: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    return model.getvalue()


def sentencepiece_of_llama_size() -> bytes:
    """A Llama-style model of 32,000 pieces, learned in a second from random words.

    Its pieces are no easier to compress than those of Llama 2.
    """
    random = Random(0)
    words = [
        "".join(random.choices(ascii_lowercase, k=random.randint(2, 8))) for _ in range(15_000)
    ]
    return _train_sentencepiece(
        (" ".join(random.choices(words, k=20)) for _ in range(5_000)), 32_000
    )


@cache
def pieces() -> SentencePieceTokenizer:
    """That model."""
    return SentencePieceTokenizer(sentencepiece_model())


def words(special: list[str], ids: int = 6) -> dict[str, Any]:
    """A ``tokenizer.json`` of single letters, with ``special`` tokens."""
    vocabulary = {letter: number for number, letter in enumerate("abcdefgh"[:ids])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    data: dict[str, Any] = json.loads(tokenizer.to_str())
    return data


def write_gpt2_files(folder: Path) -> None:
    """``bpe()`` as vocab.json and merges.txt."""
    model = json.loads(bpe().json)["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8"
    )


def train_subword(folder: Path) -> None:
    """Text, a config file, shards of 400 tokens and a checkpoint trained on them, by the command
    line.
    """
    (folder / "text.txt").write_bytes(python_documentation()[:60_000])
    model = replace(SMALL_TEXT.model, vocab_size=400, head_size=400)
    data = {"model": model.to_dict(), "recipe": SMALL_TEXT.to_dict()["recipe"]}
    (folder / "config.json").write_text(json.dumps(data))
    shards, config = str(folder / "shards"), str(folder / "config.json")
    assert (
        main(["tokenize", str(folder / "text.txt"), "--tokenizer", "bpe:400", "--out", shards]) == 0
    )
    assert main(["train", config, "--data", shards, "--out", str(folder / "run")]) == 0
