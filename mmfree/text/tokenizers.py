"""Tokenizers by name, from a file, or as a tape or a checkpoint describes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmfree.contract.tokenizers import SUBWORD_KINDS
from mmfree.errors import InputError, did_you_mean, not_one_of
from mmfree.files.atomic import parse_json
from mmfree.text.corpus import Text
from mmfree.text.subword import (
    SentencePieceTokenizer,
    SubwordTokenizer,
    json_tokenizer,
    load_pair,
    subword_from_dict,
    train_bpe,
)
from mmfree.text.task_tokenizers import AdditionTokenizer, ModularTokenizer, ParityTokenizer
from mmfree.text.tokenizer import ByteTokenizer, TextTokenizer, Tokenizer, reads_text, utf8_bytes

BPE_PREFIX = "bpe:"
"""``bpe:SIZE`` is a byte-pair vocabulary of that many tokens, learned from the text."""

LEARNED_BYTES = 64 << 20
"""Most text that a vocabulary is learned from: the first of what is for training."""

_BUILT_IN: dict[str, Callable[[], Tokenizer]] = {
    ByteTokenizer.kind: ByteTokenizer,
    AdditionTokenizer.kind: AdditionTokenizer,
    ParityTokenizer.kind: ParityTokenizer,
    ModularTokenizer.kind: ModularTokenizer,
}
"""Kinds that a tape describes by their name alone."""


def tokenizer_from_dict(data: Any) -> Tokenizer:
    """The tokenizer that ``data`` describes: the inverse of its ``to_dict``.

    Raises
    ------
    InputError
        If it describes none, or its data is damaged.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str):
        kind = None
    if kind in SUBWORD_KINDS:
        return subword_from_dict(data)
    if kind not in _BUILT_IN:
        raise not_one_of("tokenizer: kind", kind, sorted((*_BUILT_IN, *SUBWORD_KINDS)))
    return _BUILT_IN[kind]()


def begin_with(tokenizer: Tokenizer, start: int | None) -> None:
    """Let sequences begin with what a published checkpoint names; None: as the tokenizer says."""
    if isinstance(tokenizer, SubwordTokenizer) and start is not None:
        tokenizer.begin_with(start)


def find_tokenizer(name: str, text: Text) -> TextTokenizer:
    """The tokenizer that ``--tokenizer`` names: one to load, or one to learn from ``text``.

    Parameters
    ----------
    name
        ``bpe:SIZE``, or what ``load_tokenizer`` takes.
    text
        What a vocabulary is learned from: its training part.

    Raises
    ------
    InputError
        If it is none of these, or the text is too short for the vocabulary.
    """
    if not name.startswith(BPE_PREFIX):
        return load_tokenizer(name)
    size = name.removeprefix(BPE_PREFIX)
    if not (size.isascii() and size.isdigit() and len(size) <= 9):
        raise InputError(
            f"--tokenizer bpe:SIZE needs a number of tokens such as bpe:4096, got {name!r}"
        )
    try:
        return train_bpe(_learned_from(text), int(size))
    except InputError as error:
        raise InputError(f"--tokenizer {name}: {error}") from None


def load_tokenizer(name: str) -> TextTokenizer:
    """A tokenizer by its name or from a file.

    Parameters
    ----------
    name
        "bytes"; a ``tokenizer.json`` (of the ``tokenizers`` library, or a checkpoint's own); a
        SentencePiece ``.model``; or a folder that holds one of these, or ``vocab.json`` and
        ``merges.txt`` as GPT-2 has them.

    Raises
    ------
    InputError
        If there is no such file, or it is no tokenizer for text; the message names it.
    """
    if name == ByteTokenizer.kind:
        return ByteTokenizer()
    if not _can_be_a_name(name):
        raise InputError(f"{name!r}: no name that a file can have")
    path = Path(name)
    try:
        return _load_from_folder(path) if path.is_dir() else _load_file(path)
    except FileNotFoundError:
        raise InputError(
            f"{name}: no such file; a tokenizer is bytes, bpe:SIZE, a tokenizer.json, a .model file"
            f" or a folder with one{did_you_mean(name, (ByteTokenizer.kind, BPE_PREFIX + 'SIZE'))}"
        ) from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _can_be_a_name(path: str) -> bool:
    """Whether the system can be asked for a path: one from a JSON file may hold anything."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _load_from_folder(folder: Path) -> TextTokenizer:
    if (folder / "tokenizer.json").is_file():
        return _load_file(folder / "tokenizer.json")
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return load_pair(folder / "vocab.json", folder / "merges.txt")
    models = sorted(folder.glob("*.model"))
    if len(models) == 1:
        return _load_file(models[0])
    found = f"{len(models)} .model files" if models else "none"
    raise InputError(
        "a folder needs a tokenizer.json, one .model file, or vocab.json and merges.txt; found"
        f" {found}"
    )


def _load_file(path: Path) -> TextTokenizer:
    contents = path.read_bytes()
    if path.suffix == ".model":
        return SentencePieceTokenizer(contents)
    try:
        # Other people's files: the library that reads them judges their numbers.
        data = parse_json(contents, path.name, any_number=True)
    except InputError as error:
        raise InputError(
            f"no tokenizer: neither named .model (SentencePiece) nor a tokenizer.json: {error}"
        ) from None
    if isinstance(data, dict) and "kind" in data:
        tokenizer = tokenizer_from_dict(data)
        if not reads_text(tokenizer):
            raise InputError(f"a tokenizer for {tokenizer.kind}, not for text")
        return tokenizer
    return json_tokenizer(contents.decode("utf-8"))


def _learned_from(text: Text) -> Iterator[str]:
    left = LEARNED_BYTES
    for piece in text.pieces():
        if not piece.held_out:
            yield piece.text
            left -= len(utf8_bytes(piece.text))
        if left <= 0:
            return
