"""Text corpora: what is for training and what is held out, as pieces of text and as tokens."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.files.streams import count_bytes, open_bytes
from mmfree.text.sources import (
    DEFAULT_FIELD,
    Document,
    are_plain,
    character_start,
    documents,
    expand,
)
from mmfree.text.tokenizer import TextTokenizer

VALIDATION_SHARE = 0.1
"""Share of a text's bytes, or of its documents, that is held out."""

BUILT_IN = "Python documentation"

LARGEST_WHOLE = 1 << 30
"""Most bytes of a text that is in memory as a whole. A small compressed file may hold far more."""

LEAST_WORDS = 8
"""Of a paragraph of prose: shorter ones are headings and entries of lists."""

_BULLET = re.compile(r"^(\*|\d+\.) ")
_EMPHASIS = re.compile(r"\*+([^*\s][^*]*)\*+")
_SENTENCES = re.compile(r'[A-Z"][^|<>~^{}\\]*\.')
_NO_PROSE = re.compile(r"::=| = |={3}|-{3}|\*{3}|^(Changed|New|Added|Deprecated) in|^See also")

BATCH_PIECES = 16
"""Texts that are tokenized at a time (in parallel, where the tokenizer can)."""


class Tokens(Protocol):
    """Token ids in a row: an array, or several files of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: NDArray[np.integer], /) -> NDArray[np.integer]: ...


@dataclass(frozen=True)
class Corpus:
    """A tokenized text.

    Attributes
    ----------
    name
        Where it comes from, for people.
    training, validation
        Token ids; those held out are an array.
    validation_bytes
        UTF-8 bytes of the text that was held out.
    """

    name: str
    training: Tokens
    validation: NDArray[np.integer]
    validation_bytes: int

    def all_held_out(self) -> tuple[NDArray[np.integer], int]:
        """All tokens held out, and the UTF-8 bytes of their text."""
        return self.validation, self.validation_bytes

    @cached_property
    def digest(self) -> str:
        """sha256 of what a run learns from, by which a resumed run recognizes its text."""
        assert isinstance(self.training, np.ndarray)
        return hashlib.sha256(self.training.tobytes()).hexdigest()


def read_text(path: Path) -> bytes:
    """Bytes of a UTF-8 text file, decompressed.

    Raises
    ------
    InputError
        If the file is missing, empty, too large or not UTF-8; the message names it.
    """
    with open_bytes(path) as file:
        data = file.read(LARGEST_WHOLE + 1)
    if len(data) > LARGEST_WHOLE:
        raise InputError(
            f"{path}: holds more than {LARGEST_WHOLE:,} bytes, too many to score as one text"
        )
    if not data:
        raise InputError(f"{path}: the file is empty; text is needed")
    if (place := data.find(0)) >= 0:
        raise InputError(f"{path}: byte 0 at offset {place}: a text file must not hold one")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}; "
            "convert the file first"
        ) from None
    return data


def python_documentation() -> bytes:
    """CPython's own language reference as its ``help()`` shows it: 466 kB that come with Python."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name].strip() for name in sorted(topics)).encode()


def python_prose() -> str:
    """The paragraphs of ``python_documentation`` that are plain sentences: a line each, about
    200 kB in all, from which a small model learns to write in two minutes.

    Without headings, grammar, examples, notes on versions and marks of emphasis; what several
    topics have in common stands once.
    """
    found: dict[str, None] = {}
    for block in re.split(r"\n\s*\n", python_documentation().decode("utf-8")):
        text = _EMPHASIS.sub(r"\1", _BULLET.sub("", " ".join(block.split())))
        if (
            _SENTENCES.fullmatch(text)
            and not _NO_PROSE.search(text)
            and len(text.split()) >= LEAST_WORDS
        ):
            found[text] = None
    return "".join(f"{text}\n" for text in found)


@dataclass(frozen=True)
class Piece:
    """A document, or a piece of one, on one side of the split."""

    text: str
    held_out: bool
    continues: bool


@dataclass(frozen=True)
class Text:
    """What a corpus is made of, not yet read.

    Attributes
    ----------
    files
        As ``mmfree.text.sources.expand`` gives them; none: the built-in text.
    field
        Of a record, that holds its text.
    """

    files: tuple[Path, ...]
    field: str = DEFAULT_FIELD

    @classmethod
    def of(cls, paths: list[Path], field: str = DEFAULT_FIELD) -> Text:
        """Files and folders of files; InputError as ``expand``."""
        return cls(tuple(expand(paths)), field)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return ", ".join(map(str, self.files)) or BUILT_IN

    @cached_property
    def is_one(self) -> bool:
        """Whether it is one text (plain files, joined by line feeds), of which the end is held out,
        or else documents.
        """
        return are_plain(list(self.files))

    @cached_property
    def num_bytes(self) -> int | None:
        """UTF-8 bytes of one text; None for documents, whose size shows when they are read."""
        if not self.is_one:
            return None
        if not self.files:
            return len(python_documentation())
        return sum(map(count_bytes, self.files)) + len(self.files) - 1

    def pieces(self) -> Iterator[Piece]:
        """All of it in order, split.

        One text: the last tenth of its bytes is held out, from the start of a character on.
        Documents: one in ten is, by its own first piece: where the first 8 bytes of its sha256, as
        a number, are less than a tenth of 2^64. So a document's side depends on nothing but itself.
        """
        if self.is_one:
            return self._split_tail()
        return _split_by_hash(documents(list(self.files), self.field))

    def _split_tail(self) -> Iterator[Piece]:
        total = self.num_bytes
        assert total is not None
        left = total - int(total * VALIDATION_SHARE)
        for number, document in enumerate(self._joined()):
            data = document.text.encode("utf-8")
            if 0 < left < len(data):
                left = character_start(data, left)
                if left:
                    yield Piece(data[:left].decode("utf-8"), False, continues=number > 0)
                yield Piece(data[left:].decode("utf-8"), True, continues=True)
                left = 0
            else:
                yield Piece(document.text, left <= 0, continues=number > 0)
                left -= len(data)

    def _joined(self) -> Iterator[Document]:
        if not self.files:
            yield Document(python_documentation().decode("utf-8"))
        for index, path in enumerate(self.files):
            if index:
                yield Document("\n")
            yield from documents([path])


def _split_by_hash(found: Iterable[Document]) -> Iterator[Piece]:
    held_out = False
    for document in found:
        if not document.continues:
            digest = hashlib.sha256(document.text.encode("utf-8")).digest()
            held_out = int.from_bytes(digest[:8], "big") < VALIDATION_SHARE * 2**64
        yield Piece(document.text, held_out, document.continues)


def tokenize(
    pieces: Iterable[Piece], tokenizer: TextTokenizer, *, begin: bool
) -> Iterator[tuple[Piece, NDArray[np.integer]]]:
    """Each piece with its token ids.

    With ``begin`` the ids of a document begin with the tokenizer's start token.
    """
    waiting: list[Piece] = []

    def flush() -> Iterator[tuple[Piece, NDArray[np.integer]]]:
        for piece, ids in zip(
            waiting, tokenizer.encode_texts([p.text for p in waiting]), strict=True
        ):
            first = [tokenizer.start] if begin and not piece.continues else []
            yield piece, np.concatenate([np.array(first, dtype=ids.dtype), ids])
        waiting.clear()

    for piece in pieces:
        waiting.append(piece)
        if len(waiting) == BATCH_PIECES:
            yield from flush()
    yield from flush()
