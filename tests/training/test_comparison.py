"""A comparison scores what an evaluation scores: the same tokens of the same bytes held out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mmfree.text.sources
from mmfree.contract.pow2 import DEFAULT_FORMATS
from mmfree.inference.backends import TorchBackend
from mmfree.inference.scoring import evaluate_tokens
from mmfree.text.corpus import Corpus, Text
from mmfree.text.loading import load_corpus
from mmfree.text.shard_writing import write_shards
from mmfree.text.shards import open_shards
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer
from mmfree.training.checkpoint import build_model
from mmfree.training.comparison import held_out_text, score_model
from mmfree.training.recipe import ARCHITECTURES, RunConfig
from tests.support.models import SMALL_TEXT
from tests.support.subwords import LINES, bpe, pieces

DOCUMENTS = [f"{line}\n{number}" for number, line in enumerate(LINES)]
LENGTH = 2000
"""No less than the tokens held out: one window, and one stream."""


def config_of(tokenizer: TextTokenizer, architecture: str, length: int = LENGTH) -> RunConfig:
    size = tokenizer.vocab_size
    return replace(
        SMALL_TEXT,
        architecture=architecture,
        subword=None if tokenizer.kind == "bytes" else tokenizer.to_dict(),
        model=replace(SMALL_TEXT.model, vocab_size=size, head_size=size),
        recipe=replace(SMALL_TEXT.recipe, length=length),
    )


def corpus_of(kind: str, tokenizer: TextTokenizer, folder: Path) -> Corpus:
    """One text; documents; both as shards, of which several are held out."""
    one = kind.startswith("text")
    path = folder / ("a.txt" if one else "a.jsonl")
    path.write_text(
        "\n".join(DOCUMENTS)
        if one
        else "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS),
        encoding="utf-8",
    )
    if not kind.endswith("shards"):
        return load_corpus([path], tokenizer)
    manifest = write_shards(Text.of([path]), tokenizer, folder / "shards", held_out_tokens=20)
    assert len(manifest.validation) > 1
    return open_shards(folder / "shards", tokenizer)


TOKENIZERS = [ByteTokenizer(), bpe(), pieces()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
@pytest.mark.parametrize("kind", ["text", "documents", "text shards", "documents shards"])
def test_compare_and_evaluate_give_the_same_score(
    kind: str,
    tokenizer: TextTokenizer,
    architecture: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of documents in several pieces, of which the first begins with a start token."""
    monkeypatch.setattr(mmfree.text.sources, "PIECE_BYTES", 40)
    corpus = corpus_of(kind, tokenizer, tmp_path)
    config = config_of(tokenizer, architecture)
    torch.manual_seed(1)
    model = build_model(config)
    compared = score_model(model, held_out_text(config, corpus))
    if architecture == "matmul-free":
        backend = TorchBackend("fakequant", model, tokenizer, DEFAULT_FORMATS.residual_fb)
        evaluated = evaluate_tokens(backend, *corpus.all_held_out())
        assert (compared.tokens, compared.bytes) == (evaluated.tokens, evaluated.bytes)
        assert compared.bits_per_byte == pytest.approx(evaluated.bits_per_byte, rel=1e-6)
    tokens, num_bytes = corpus.all_held_out()
    assert compared.bytes == num_bytes
    assert compared.tokens == len(tokens) - int((tokens == tokenizer.start).sum())
    assert (tokenizer.start in tokens) == kind.startswith("documents")


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
def test_what_is_held_out_is_known_beforehand(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """By the documents alone: their tokens, without the one that each begins with."""
    corpus = corpus_of("documents shards", tokenizer, tmp_path)
    text = held_out_text(config_of(tokenizer, "matmul-free", length=7), corpus)
    documents = load_corpus([tmp_path / "a.jsonl"], tokenizer)
    pieces = np.split(
        documents.validation, np.flatnonzero(documents.validation == tokenizer.start)[1:]
    )
    held_out = [tokenizer.decode(piece[1:].tolist()) for piece in pieces]
    assert set(held_out) <= set(DOCUMENTS)
    assert len(held_out) > 1
    assert text.bytes == sum(len(document.encode()) for document in held_out)
    assert text.tokens == sum(len(ids) for ids in tokenizer.encode_texts(held_out))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_windows_are_no_longer_than_those_of_training(architecture: str, tmp_path: Path) -> None:
    """And their score is the sum of the cross-entropies of their tokens."""
    corpus = corpus_of("documents", bpe(), tmp_path)
    config = config_of(bpe(), architecture, length=16)
    model, text = build_model(config), held_out_text(config, corpus)
    assert len(text.batch.ids) > 1 < text.batch.ids.shape[1] <= 16
    nats = 0.0
    for ids, targets, mask in zip(text.batch.ids, text.batch.targets, text.batch.mask, strict=True):
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(ids[None]), mode="fakequant")
        wanted = torch.from_numpy(targets[mask])
        nats += float(F.cross_entropy(logits[0][torch.from_numpy(mask)], wanted, reduction="sum"))
    found = score_model(model, text)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / text.bytes, rel=1e-5)
