"""Tokenizers: text to token ids, and the head's rows back to text."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError


class Tokenizer(Protocol):
    """What every tokenizer offers. A tape carries its ``to_dict``."""

    kind: str
    vocab_size: int
    head_size: int
    feeds_back: bool
    """Whether a chosen row is the next token (text), or is only read out (addition)."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, from the start of a sequence."""
        ...

    def decode(self, rows: list[int]) -> str:
        """Text of the rows that the head chose."""
        ...

    def to_dict(self) -> dict[str, str]:
        """Plain JSON types; ``tokenizer_from_dict`` is the inverse."""
        ...


class TextTokenizer(Tokenizer, Protocol):
    """A tokenizer for any text; what the head chooses is fed back."""

    start: int
    """The id that begins a sequence, and a document. No text makes it."""

    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """Ids of each text by itself, without ``start``: uint8, uint16 or uint32, as needed.

        Raises
        ------
        InputError
            If a text is not Unicode (``utf8_bytes``), or the tokenizer cannot encode it.
        """
        ...


def token_dtype(vocab_size: int) -> type[np.unsignedinteger[Any]]:
    """uint16 if it holds every id, else uint32."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def reads_text(tokenizer: Tokenizer) -> TypeGuard[TextTokenizer]:
    """Whether a tokenizer is for any text, and not for the examples of a task."""
    return tokenizer.feeds_back


def document_ends(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end a text of a model trained here: the token that begins the next document, which
    no text makes; none of a task.
    """
    return (tokenizer.start,) if reads_text(tokenizer) else ()


def text_tokenizer(tokenizer: Tokenizer) -> TextTokenizer:
    """``tokenizer``, if it is for text; InputError if it is for a task."""
    if not reads_text(tokenizer):
        raise InputError(f"a model for {tokenizer.kind}, not for text")
    return tokenizer


def utf8_bytes(text: str) -> bytes:
    """``text`` in UTF-8.

    Raises
    ------
    InputError
        If it holds half of a surrogate pair, which is no character: Python makes one of a byte of
        the command line that is not UTF-8, and of an escape such as ``\\ud800`` in JSON.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text is not Unicode: {text[error.start]!r} at character {error.start} is half of"
            " a surrogate pair; give text in UTF-8"
        ) from None


class ByteTokenizer:
    """Token ids are bytes of UTF-8. A sequence starts with byte 0, which no text holds."""

    kind = "bytes"
    vocab_size, head_size = 256, 256
    feeds_back = True
    start = 0

    def encode(self, text: str) -> list[int]:
        """Byte 0 and the text's bytes."""
        return [self.start, *self.encode_texts([text])[0].tolist()]

    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """The texts' bytes, uint8; InputError also for a text with byte 0."""
        for text in texts:
            if (place := text.find("\0")) >= 0:
                raise InputError(
                    f"the text holds a NUL character at {place}, which no text does: to this"
                    " tokenizer it is the start of a sequence; remove it"
                )
        return [np.frombuffer(utf8_bytes(text), dtype=np.uint8) for text in texts]

    def decode(self, rows: list[int]) -> str:
        """Text of bytes; what is not UTF-8 becomes the replacement character."""
        return bytes(rows).decode("utf-8", errors="replace")

    def to_dict(self) -> dict[str, str]:
        """{"kind": "bytes"}."""
        return {"kind": self.kind}
