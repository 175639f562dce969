"""Token shards: a tokenized corpus as a folder of memory-mapped files (docs/data.md), read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.files.atomic import parse_json, read_json
from mmfree.text.corpus import Corpus
from mmfree.text.sources import FORMAT, MANIFEST_NAME
from mmfree.text.tokenizer import TextTokenizer, reads_text
from mmfree.text.tokenizers import tokenizer_from_dict

TOKENIZER_NAME = "tokenizer.json"
VERSION = 1


SHARD_NAME = re.compile(r"(shard|held_out)_\d+\.bin")
"""Names of the files that hold tokens."""

DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
"""Types of tokens, as the manifest names them."""

_SIDES = ("training", "validation")


@dataclass(frozen=True)
class Shard:
    """One file: its tokens, the UTF-8 bytes of the text they encode, and its sha256."""

    file: str
    tokens: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes
    ----------
    tokenizer_sha256
        Of the folder's tokenizer.json.
    vocab_size
        Every token is below it.
    dtype
        "uint16" or "uint32", little-endian.
    split
        "tail" (the last tenth of one text is held out) or "hash" (one in ten documents).
    documents
        Training and held out together.
    sources
        Files and data sets that the text came from.
    training, validation
        The shards, in order.
    """

    tokenizer_sha256: str
    vocab_size: int
    dtype: str
    split: str
    documents: int
    sources: tuple[str, ...]
    training: tuple[Shard, ...]
    validation: tuple[Shard, ...]

    def summary(self) -> dict[str, int]:
        """Sizes by name: vocabulary, documents, bytes of text, and tokens of both sides."""
        shards = (*self.training, *self.validation)
        return {
            "vocab_size": self.vocab_size,
            "documents": self.documents,
            "bytes": sum(shard.bytes for shard in shards),
            "training_tokens": sum(shard.tokens for shard in self.training),
            "held_out_tokens": sum(shard.tokens for shard in self.validation),
        }

    def to_bytes(self) -> bytes:
        """The manifest's file: JSON."""
        return (
            json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1) + "\n"
        ).encode()

    @classmethod
    def from_json(cls, data: Any, source: str) -> Manifest:
        """The manifest that a JSON value describes.

        Raises
        ------
        InputError
            If a field is missing or malformed; the message names ``source`` and the field.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(f"{source}: no manifest of token shards")
        if data.get("version") != VERSION:
            raise InputError(
                f"{source}: version {data.get('version')!r}, but this mmfree reads {VERSION}:"
                " tokenize again"
            )
        values = {key: value for key, value in data.items() if key not in ("format", "version")}
        kinds = {
            "vocab_size": int,
            "documents": int,
            "sources": list,
            "training": list,
            "validation": list,
        }
        for field in fields(cls):
            if not isinstance(values.get(field.name), kinds.get(field.name, str)):
                raise InputError(f"{source}: {field.name} is missing or malformed; tokenize again")
        if values["dtype"] not in DTYPES:
            raise InputError(f"{source}: dtype must be uint16 or uint32, got {values['dtype']!r}")
        if surplus := sorted(values.keys() - {field.name for field in fields(cls)}):
            raise InputError(f"{source}: unknown field {surplus[0]!r}; tokenize again")
        for side in _SIDES:
            if not values[side] or not all(map(_describes_shard, values[side])):
                raise InputError(f"{source}: {side} is malformed; tokenize again")
            values[side] = tuple(Shard(**shard) for shard in values[side])
        return cls(**values | {"sources": tuple(values["sources"])})


def _describes_shard(data: Any) -> bool:
    """Whether a JSON value has the fields of a ``Shard``, of their types and above 0."""
    if not isinstance(data, dict) or data.keys() != {field.name for field in fields(Shard)}:
        return False
    texts, counts = (data["file"], data["sha256"]), (data["tokens"], data["bytes"])
    return all(isinstance(text, str) for text in texts) and all(
        type(count) is int and count > 0 for count in counts
    )


class ShardedTokens:
    """Tokens of several memory-mapped files as one row.

    Reading a window touches its pages alone.

    Parameters
    ----------
    folder, shards
        The files.
    dtype
        Of their tokens.
    vocab_size
        What every token must be below.
    """

    def __init__(
        self, folder: Path, shards: Sequence[Shard], dtype: np.dtype[Any], vocab_size: int
    ) -> None:
        self._folder, self._vocab_size = folder, vocab_size
        self._maps = [np.memmap(folder / shard.file, dtype=dtype, mode="r") for shard in shards]
        self._ends = np.cumsum([len(one) for one in self._maps], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, places: NDArray[np.integer], /) -> NDArray[np.integer]:
        """Tokens at ``places`` (any shape, 0 <= place < len), of the same shape.

        Raises
        ------
        InputError
            If one is not below ``vocab_size``, because a shard was altered.
        """
        shards = np.searchsorted(self._ends, places, side="right")
        result = np.empty(places.shape, dtype=self._maps[0].dtype)
        for index in np.unique(shards):
            here = shards == index
            first = self._ends[index] - len(self._maps[index])
            result[here] = self._maps[index][places[here] - first]
        _check_tokens(result, self._vocab_size, str(self._folder))
        return result


@dataclass(frozen=True)
class ShardedCorpus(Corpus):
    """A corpus of shards: ``validation`` is the first held-out one, ``all_held_out`` gives all."""

    folder: Path
    manifest: Manifest

    @cached_property
    def digest(self) -> str:
        """sha256 of what a run learns from, wherever the text came from: taken over those of the
        tokenizer and of the training shards.
        """
        parts = [
            self.manifest.tokenizer_sha256,
            *(shard.sha256 for shard in self.manifest.training),
        ]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def all_held_out(self) -> tuple[NDArray[np.integer], int]:
        """All tokens held out, and the UTF-8 bytes of their text."""
        shards = self.manifest.validation
        tokens = [_read_shard(self.folder, shard, self.manifest) for shard in shards]
        return np.concatenate(tokens), sum(shard.bytes for shard in shards)


def read_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer whose tokens the shards hold.

    Raises
    ------
    InputError
        If its file is missing, or is not the one that made the shards.
    """
    manifest = _read_manifest(folder)
    path = folder / TOKENIZER_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; tokenize again") from None
    if hashlib.sha256(data).hexdigest() != manifest.tokenizer_sha256:
        raise InputError(
            f"{path}: not the tokenizer that made the shards (its sha256 differs from the"
            " manifest's)"
        )
    tokenizer = tokenizer_from_dict(parse_json(data, str(path)))
    if tokenizer.vocab_size != manifest.vocab_size:
        raise InputError(
            f"{folder / MANIFEST_NAME}: vocab_size must be the tokenizer's {tokenizer.vocab_size},"
            f" got {manifest.vocab_size}; tokenize again"
        )
    if not reads_text(tokenizer):
        raise InputError(
            f"{path}: a tokenizer of kind {tokenizer.kind} does not read text; tokenize again"
        )
    return tokenizer


def open_shards(
    folder: Path, tokenizer: TextTokenizer | None = None, *, verify: bool = False
) -> ShardedCorpus:
    """Open a folder that ``write_shards`` wrote; of its shards the first held-out one is read.

    Parameters
    ----------
    folder
        Holds the manifest, the tokenizer and the shards.
    tokenizer
        The one that is expected; None: whatever the shards were made with.
    verify
        Compare every shard's sha256, too, not only its size.

    Raises
    ------
    InputError
        If the manifest is malformed, a shard is missing or altered, or the tokenizer is another
        one; the message names the file.
    """
    manifest = _read_manifest(folder)
    if tokenizer is not None and tokenizer_bytes(tokenizer) != tokenizer_bytes(
        read_tokenizer(folder)
    ):
        raise InputError(
            f"{folder}: made with another tokenizer (of {manifest.vocab_size} ids) than the model's"
            f" (of {tokenizer.vocab_size}): take shards of its own tokenizer, or tokenize again"
        )
    dtype = DTYPES[manifest.dtype]
    for shard in (*manifest.training, *manifest.validation):
        path = folder / shard.file
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise InputError(f"{path}: it is missing; tokenize again")
        if size != (needed := shard.tokens * dtype.itemsize):
            raise InputError(f"{path}: it has {size} bytes, not {needed}; tokenize again")
        if verify and _sha256(path) != shard.sha256:
            raise InputError(
                f"{path}: altered: its sha256 differs from the manifest's; tokenize again"
            )
    first = manifest.validation[0]
    return ShardedCorpus(
        name=str(folder),
        training=ShardedTokens(folder, manifest.training, dtype, manifest.vocab_size),
        validation=_read_shard(folder, first, manifest),
        validation_bytes=first.bytes,
        folder=folder,
        manifest=manifest,
    )


def _read_shard(folder: Path, shard: Shard, manifest: Manifest) -> NDArray[np.integer]:
    tokens = np.memmap(folder / shard.file, dtype=DTYPES[manifest.dtype], mode="r")
    _check_tokens(tokens, manifest.vocab_size, str(folder / shard.file))
    return tokens


def _check_tokens(tokens: NDArray[np.integer], vocab_size: int, source: str) -> None:
    """A token that no model knows would be an index out of range, far from the file it is in."""
    if tokens.size and (largest := int(tokens.max())) >= vocab_size:
        raise InputError(
            f"{source}: altered: tokens must be below {vocab_size}, found {largest}; tokenize again"
        )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    return Manifest.from_json(read_json(path), str(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tokenizer_bytes(tokenizer: TextTokenizer) -> bytes:
    return (json.dumps(tokenizer.to_dict(), indent=1) + "\n").encode()
