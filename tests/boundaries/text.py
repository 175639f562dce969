"""Boundaries of text, its tokenizers and shards, of tasks, and of sequences."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from mmfree.models.sequence_state import starting_state
from mmfree.tasks.catalog import TASKS
from mmfree.tasks.modular import held_out_pairs
from mmfree.text import corpus, shard_writing, shards, sources, subword, tokenizers
from mmfree.text.corpus import Text, read_text
from mmfree.text.loading import load_corpus
from mmfree.text.sources import SEPARATOR, documents
from mmfree.text.task_tokenizers import ModularTokenizer
from mmfree.text.tokenizer import ByteTokenizer
from tests.support.boundaries import Boundary
from tests.support.subwords import TEXT

TASK_POSITIONS = "mmfree/tasks/catalog.py"


def read(data: bytes, folder: Path) -> bytes:
    """A text, of which at most ten bytes are in memory as a whole."""
    (folder / "a.txt").write_bytes(data)
    with mock.patch.object(corpus, "LARGEST_WHOLE", 10):
        return read_text(folder / "a.txt")


def separated(characters: int, folder: Path) -> None:
    """A text of one document of so many characters after another, in pieces of 8 bytes."""
    (folder / "a.txt").write_text(f"a\n{SEPARATOR}\n" + "x" * characters)
    with mock.patch.multiple(sources, LARGEST_RECORD=40):
        list(documents([folder / "a.txt"]))


def text_for(minimum: int, folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"x" * 99)
    load_corpus([folder / "a.txt"], minimum=minimum)


def altered_shards(token: int, folder: Path) -> None:
    """Shards of bytes, of which one held out has become ``token``: as wide as there is room."""
    (folder / "a.txt").write_text(TEXT)
    shard_writing.write_shards(Text.of([folder / "a.txt"]), ByteTokenizer(), folder / "shards")
    path = folder / "shards" / "held_out_00000.bin"
    data = np.frombuffer(path.read_bytes(), dtype="<u2").copy()
    data[-1] = token
    path.write_bytes(data.tobytes())
    shards.open_shards(folder / "shards")


def learned(size: int) -> None:
    """Learn a vocabulary; what the library makes of the larger sizes is not needed."""
    if size <= 300:
        subword.train_bpe([TEXT], size)
        return
    with (
        mock.patch("tokenizers.Tokenizer") as library,
        mock.patch.object(subword, "JsonTokenizer"),
    ):
        library.return_value.get_vocab_size.return_value = size
        subword.train_bpe([TEXT], size)


def asked_for(size: str) -> None:
    with mock.patch.object(tokenizers, "train_bpe") as train:
        tokenizers.find_tokenizer(f"bpe:{size}", Text(()))
    assert train.call_args.args[1] == int(size)


def examined(name: str, length: int, examples: int) -> None:
    """An examination, of which nothing is drawn."""
    with (
        mock.patch("mmfree.tasks.catalog.examined_sums"),
        mock.patch("mmfree.tasks.catalog.parities"),
    ):
        TASKS[name].draw(np.random.default_rng(0), length, examples)


def sequences(columns: int) -> None:
    ids = torch.zeros(2, columns, dtype=torch.int64)
    starting_state(ids, None, lambda batch: torch.zeros(1, batch, 3))


ROWS: list[Boundary] = [
    Boundary(
        file="mmfree/text/sources.py",
        compares="len(rest) > LARGEST_RECORD",
        allowed=lambda folder: separated(40, folder),
        refused=lambda folder: separated(41, folder),
        says=r"a\.txt: a document has at most 40 characters$",
    ),
    *(
        Boundary(
            file="mmfree/text/corpus.py",
            compares=compares,
            allowed=partial(read, allowed),
            refused=partial(read, refused),
            says=rf"a\.txt: {says}",
        )
        for compares, allowed, refused, says in (
            ("len(data) > LARGEST_WHOLE", b"x" * 10, b"x" * 11, "holds more than 10 bytes, too"),
            ("(place := data.find(0)) >= 0", b"ab", b"\0ab", "byte 0 at offset 0: a text file"),
        )
    ),
    Boundary(
        file="mmfree/text/loading.py",
        compares="shortest < minimum",
        allowed=partial(text_for, 9),
        refused=partial(text_for, 10),
        says=r"too short: 90 tokens for training and 9 held out .* but a sequence has 10",
    ),
    Boundary(
        file="mmfree/text/shards.py",
        compares="(largest := int(tokens.max())) >= vocab_size",
        allowed=partial(altered_shards, 255),
        refused=partial(altered_shards, 256),
        says=r"held_out_00000\.bin: altered: tokens must be below 256, found 256",
    ),
    *(
        Boundary(
            file="mmfree/text/subword.py",
            compares="SMALLEST_TRAINED <= vocab_size <= LARGEST_TRAINED",
            allowed=lambda _, size=allowed: learned(size),
            refused=lambda _, size=refused: learned(size),
            says=f"at least 257 tokens and at most 16777216, got {refused}",
        )
        for allowed, refused in ((257, 256), (1 << 24, (1 << 24) + 1))
    ),
    Boundary(
        file="mmfree/text/task_tokenizers.py",
        compares="max(numbers) >= MODULUS",
        allowed=lambda _: ModularTokenizer().encode("96+96"),
        refused=lambda _: ModularTokenizer().encode("0+97"),
        says=r"two numbers below 97 such as 12\+96, got '0\+97'",
    ),
    Boundary(
        file="mmfree/text/tokenizer.py",
        compares="(place := text.find('\\x00')) >= 0",
        allowed=lambda _: ByteTokenizer().encode_texts(["a\x01"]),
        refused=lambda _: ByteTokenizer().encode_texts(["a", "\0a"]),
        says="holds a NUL character at 0, which no text does",
    ),
    Boundary(
        file="mmfree/text/tokenizers.py",
        compares="len(size) <= 9",
        allowed=lambda _: asked_for("123456789"),
        refused=lambda _: asked_for("1234567890"),
        says="needs a number of tokens such as bpe:4096, got 'bpe:1234567890'",
    ),
    *(
        Boundary(
            file=TASK_POSITIONS,
            compares="length * examples > MAX_POSITIONS",
            allowed=lambda _, name=name: examined(name, 1 << 13, 1 << 15),
            refused=lambda _, name=name: examined(name, (1 << 28) + 1, 1),
            says="--digits times --examples must be at most 268435456, got 268435457 times 1",
        )
        for name in ("addition", "addition-chains", "parity")
    ),
    Boundary(
        file="mmfree/tasks/modular.py",
        compares="count > len(pairs)",
        allowed=lambda _: held_out_pairs(np.random.default_rng(0), 5646),
        refused=lambda _: held_out_pairs(np.random.default_rng(0), 5647),
        says="--examples must be at most 5646, the number of held-out pairs, got 5647",
    ),
    Boundary(
        file="mmfree/models/sequence_state.py",
        compares="ids_BT.shape[1] < 1",
        allowed=lambda _: sequences(1),
        refused=lambda _: sequences(0),
        says=r"ids must be \[batch, time >= 1\], got shape \(2, 0\)",
    ),
]
