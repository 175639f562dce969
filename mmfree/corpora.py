"""``mmfree tokenize``, and which tokenizer a training run gets."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from mmfree.config import read_json
from mmfree.data import Text
from mmfree.outcome import Outcome
from mmfree.recipe import PRESETS, RunConfig, load_run_config
from mmfree.shards import (
    Manifest,
    check_output,
    open_shards,
    read_tokenizer,
    write_shards,
)
from mmfree.sources import is_shards
from mmfree.subword import load_tokenizer, train_bpe
from mmfree.tokenizer import ByteTokenizer, TextTokenizer, text_tokenizer, tokenizer_from_dict

BPE_PREFIX = "bpe:"
LEARNED_BYTES = 64 << 20
"""Text that a vocabulary is learned from, at most: the first of what is for training."""


def tokenize(options: argparse.Namespace) -> Outcome:
    """``mmfree tokenize``."""
    check_output(options.out, options.force)
    text = Text.of(options.data, options.field)
    tokenizer = find_tokenizer(options.tokenizer, text)
    started = time.monotonic()
    manifest = write_shards(text, tokenizer, options.out, force=options.force)
    summary = _summary(manifest)
    speed = summary["bytes"] / 1e6 / (time.monotonic() - started)
    values = {"shards": str(options.out), "tokenizer": tokenizer.kind, **summary, "megabytes_per_second": speed}
    return Outcome(values, f"{options.out}: {_describe(manifest)}; {speed:.2f} MB/s")


def inspect_shards(folder: Path) -> Outcome:
    """What a folder of shards holds, every byte of it checked."""
    manifest = open_shards(folder, verify=True).manifest
    tokenizer = read_tokenizer(folder)
    values = {"shards": str(folder), "tokenizer": tokenizer.kind, **_summary(manifest), "manifest": asdict(manifest)}
    return Outcome(values, f"{folder}: {_describe(manifest)}; tokenizer {tokenizer.kind}; every sha256 holds")


def _summary(manifest: Manifest) -> dict[str, int]:
    shards = (*manifest.training, *manifest.validation)
    return {
        "vocab_size": manifest.vocab_size,
        "documents": manifest.documents,
        "bytes": sum(shard.bytes for shard in shards),
        "training_tokens": sum(shard.tokens for shard in manifest.training),
        "held_out_tokens": sum(shard.tokens for shard in manifest.validation),
    }


def _describe(manifest: Manifest) -> str:
    values = _summary(manifest)
    tokens = values["training_tokens"] + values["held_out_tokens"]
    held_out = "the last tenth" if manifest.split == "tail" else f"one in ten of {values['documents']:,} documents"
    return (
        f"{values['training_tokens']:,} tokens for training, {values['held_out_tokens']:,} held out ({held_out}), "
        f"vocabulary {values['vocab_size']:,}, {values['bytes'] / tokens:.2f} bytes per token"
    )


def find_tokenizer(name: str, text: Text) -> TextTokenizer:
    """The tokenizer that ``--tokenizer`` names: bytes, a file, or a byte-pair vocabulary learned from the text's training part.

    Raises
    ------
    ValueError
        If it is none of these, or the text is too short for the vocabulary.
    """
    if not name.startswith(BPE_PREFIX):
        return load_tokenizer(name)
    size = name.removeprefix(BPE_PREFIX)
    if not (size.isascii() and size.isdigit()):
        raise ValueError(f"--tokenizer bpe:SIZE needs a number of tokens such as bpe:4096, got {name!r}")
    try:
        return train_bpe(_learned_from(text), int(size))
    except ValueError as error:
        raise ValueError(f"--tokenizer {name}: {error}") from None


def _learned_from(text: Text) -> Iterator[str]:
    left = LEARNED_BYTES
    for piece in text.pieces():
        if not piece.held_out:
            yield piece.text
            left -= len(piece.text.encode("utf-8"))
        if left <= 0:
            return


def run_config(options: argparse.Namespace) -> RunConfig:
    """The run that ``mmfree train`` asks for: its tokenizer is the one named, else that of the shards, else that of the run resumed, else the config's own.

    Raises
    ------
    ValueError
        If preset or file is not valid, or the tokenizer's vocabulary is not the file's.
    """
    if options.tokenizer is not None and options.config in PRESETS:
        load_run_config(options.config, options.gate, ByteTokenizer())  # refuses a task before anything is learned
    return load_run_config(options.config, options.gate, _asked_for(options))


def _asked_for(options: argparse.Namespace) -> TextTokenizer | None:
    data: list[Path] = options.data or []
    shards = [path for path in data if is_shards(path)]
    if options.tokenizer is not None:
        if shards and options.tokenizer.startswith(BPE_PREFIX):
            raise ValueError(f"{shards[0]}: holds tokens, so no vocabulary can be learned; leave --tokenizer out")
        return find_tokenizer(options.tokenizer, Text.of([] if shards else data))
    if len(data) == 1 and shards:
        return read_tokenizer(data[0])
    before = options.out / "config.json"
    if options.resume and before.is_file():
        subword = RunConfig.from_dict(read_json(before), str(before)).subword
        if subword is not None:
            return text_tokenizer(tokenizer_from_dict(subword))
    return None
