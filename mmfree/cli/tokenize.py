"""``mmfree tokenize``: text as token shards."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mmfree.cli.options import TOKENIZERS, add_out
from mmfree.cli.outcome import Outcome
from mmfree.files.claim import claimed
from mmfree.text.corpus import Text
from mmfree.text.shard_writing import check_output, write_shards
from mmfree.text.shards import Manifest
from mmfree.text.tokenizers import find_tokenizer

EXAMPLES = (
    "mmfree tokenize stories.txt --out shards",
    "mmfree tokenize corpus --tokenizer bpe:4096 --out shards",
    "mmfree tokenize hf:roneneldan/TinyStories --out shards",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help=(
            "text, JSON and Parquet files, compressed or not, folders of them, - (standard input),"
            " or hf:NAME[:CONFIG[:SPLIT]] (docs/data.md)"
        ),
    )
    parser.add_argument("--tokenizer", default="bytes", metavar="NAME", help=TOKENIZERS)
    parser.add_argument(
        "--field",
        default="text",
        metavar="NAME",
        help="of a record, that holds its text; with dots one within: meta.text",
    )
    add_out(parser, "folder of shards")


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    # Before anything is read: a pipe or a vocabulary to learn may take long.
    with claimed(options.out):
        check_output(options.out, options.force)
        text = Text.of(options.data, options.field)
        tokenizer = find_tokenizer(options.tokenizer, text)
        started = time.monotonic()
        manifest = write_shards(text, tokenizer, options.out, force=options.force)
    summary = manifest.summary()
    speed = summary["bytes"] / 1e6 / (time.monotonic() - started)
    values = {
        "shards": str(options.out),
        "tokenizer": tokenizer.kind,
        **summary,
        "megabytes_per_second": speed,
    }
    return Outcome(values, f"{options.out}: {describe_shards(manifest)}; {speed:.2f} MB/s")


def describe_shards(manifest: Manifest) -> str:
    values = manifest.summary()
    tokens = values["training_tokens"] + values["held_out_tokens"]
    held_out = (
        "the last tenth"
        if manifest.split == "tail"
        else f"one in ten of {values['documents']:,} documents"
    )
    return (
        f"{values['training_tokens']:,} tokens for training, {values['held_out_tokens']:,} held out"
        f" ({held_out}), vocabulary {values['vocab_size']:,}, {values['bytes'] / tokens:.2f} bytes"
        " per token"
    )
