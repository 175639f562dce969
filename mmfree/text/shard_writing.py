"""Token shards, written: a whole folder or none (docs/data.md)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.errors import InputError
from mmfree.files.folders import FolderKind, new_folder, passing
from mmfree.text.corpus import Piece, Text, tokenize
from mmfree.text.shards import (
    SHARD_NAME,
    TOKENIZER_NAME,
    Manifest,
    Shard,
    tokenizer_bytes,
)
from mmfree.text.sources import MANIFEST_NAME, is_shards
from mmfree.text.tokenizer import TextTokenizer, token_dtype

TRAINING_SHARD_TOKENS, HELD_OUT_SHARD_TOKENS = 1 << 26, 1 << 18
"""Tokens at which a shard is closed, after the piece of text that reaches them.

Shards of held-out text are small, because the first of them scores a fresh checkpoint.
"""

SHARDS_FOLDER = FolderKind(
    last=MANIFEST_NAME,
    own=re.compile(
        "|".join((re.escape(MANIFEST_NAME), re.escape(TOKENIZER_NAME), SHARD_NAME.pattern))
    ),
)


class _Writer:
    """Appends pieces to the shards of one side."""

    def __init__(self, folder: Path, side: str, dtype: np.dtype[Any], most: int) -> None:
        self._folder, self._side, self._dtype, self._most = folder, side, dtype, most
        self._file: BinaryIO | None = None
        self._tokens = self._bytes = 0
        self.shards: list[Shard] = []

    def add(self, ids: NDArray[np.integer], num_bytes: int) -> None:
        if self._file is None:
            self._name = f"{self._side}_{len(self.shards):05d}.bin"
            self._file, self._digest = (self._folder / self._name).open("wb"), hashlib.sha256()
        data = ids.astype(self._dtype).tobytes()
        self._file.write(data)
        self._digest.update(data)
        self._tokens, self._bytes = self._tokens + len(ids), self._bytes + num_bytes
        if self._tokens >= self._most:
            self.close()

    def close(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if not self._tokens:
            (self._folder / self._name).unlink()
        else:
            self.shards.append(
                Shard(self._name, self._tokens, self._bytes, self._digest.hexdigest())
            )
        self._tokens = self._bytes = 0


def write_shards(
    text: Text,
    tokenizer: TextTokenizer,
    folder: Path,
    *,
    force: bool = False,
    shard_tokens: int = TRAINING_SHARD_TOKENS,
    held_out_tokens: int = HELD_OUT_SHARD_TOKENS,
) -> Manifest:
    """Tokenize ``text`` into a folder, which appears only when it is whole.

    The same text and tokenizer give the same bytes.

    Raises
    ------
    InputError
        If the folder exists and ``force`` is not given, it holds anything but shards, the text
        cannot be used, or one side of the split is empty.
    """
    check_output(folder, force)
    dtype = np.dtype(token_dtype(tokenizer.vocab_size))
    with new_folder(folder, SHARDS_FOLDER, force=force) as partial:
        writers = [
            _Writer(partial, "shard", dtype, shard_tokens),
            _Writer(partial, "held_out", dtype, held_out_tokens),
        ]
        try:
            count = 0
            for piece, ids in tokenize(_watched(text), tokenizer, begin=not text.is_one):
                count += not piece.continues
                writers[piece.held_out].add(ids, len(piece.text.encode("utf-8")))
        finally:
            for writer in writers:
                writer.close()
        training, validation = (tuple(writer.shards) for writer in writers)
        if not training or not validation:
            side = "training" if not training else "validation"
            raise InputError(
                f"{text.name}: {count} documents leave none for {side}: give more of them, or plain"
                " text"
            )
        description = tokenizer_bytes(tokenizer)
        manifest = Manifest(
            tokenizer_sha256=hashlib.sha256(description).hexdigest(),
            vocab_size=tokenizer.vocab_size,
            dtype=dtype.name,
            split="tail" if text.is_one else "hash",
            documents=count,
            sources=tuple(map(str, text.files)) or (text.name,),
            training=training,
            validation=validation,
        )
        (partial / TOKENIZER_NAME).write_bytes(description)
        (partial / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    return manifest


def check_output(folder: Path, force: bool) -> None:
    """Raise InputError for a folder that may not be replaced, before anything is computed."""
    if not folder.exists():
        return
    if not force:
        raise InputError(f"{folder}: exists already; --force overwrites it")
    if not is_shards(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: exists and holds no token shards; --force replaces nothing else"
        )
    for path in sorted(folder.iterdir()):
        if path.resolve() not in passing(folder) and not SHARDS_FOLDER.own.fullmatch(path.name):
            raise InputError(
                f"{folder}: holds {path.name} besides token shards; --force replaces nothing else"
            )


def _watched(text: Text) -> Iterator[Piece]:
    with tqdm(total=text.num_bytes, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for piece in text.pieces():
            yield piece
            bar.update(len(piece.text.encode("utf-8")))
