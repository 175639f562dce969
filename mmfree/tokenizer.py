"""Tokenizers: text to token ids, and the head's rows back to text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray


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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``tokenizer_from_dict`` is the inverse."""
        ...


class TextTokenizer(Tokenizer, Protocol):
    """A tokenizer for any text; what the head chooses is fed back."""

    start: int
    """The id that begins a sequence, and a document. No text makes it."""

    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """Ids of each text by itself, without ``start``; uint8, uint16 or uint32, as the vocabulary needs."""
        ...


def reads_text(tokenizer: Tokenizer) -> TypeGuard[TextTokenizer]:
    """Whether a tokenizer is for any text, and not for the examples of a task."""
    return tokenizer.feeds_back


def text_tokenizer(tokenizer: Tokenizer) -> TextTokenizer:
    """``tokenizer``, which must be for text; ValueError if it is for a task."""
    if not reads_text(tokenizer):
        raise ValueError(f"a model for {tokenizer.kind}, not for text")
    return tokenizer


class ByteTokenizer:
    """Token ids are bytes of UTF-8. A sequence starts with byte 0, which no text holds."""

    kind = "bytes"
    vocab_size, head_size = 256, 256
    feeds_back = True
    start = 0

    def encode(self, text: str) -> list[int]:
        """Byte 0 and the text's bytes."""
        return [self.start, *text.encode("utf-8")]

    def encode_texts(self, texts: list[str]) -> list[NDArray[np.integer]]:
        """The texts' bytes, uint8."""
        return [np.frombuffer(text.encode("utf-8"), dtype=np.uint8) for text in texts]

    def decode(self, rows: list[int]) -> str:
        """Text of bytes; what is not UTF-8 becomes the replacement character."""
        return bytes(rows).decode("utf-8", errors="replace")

    def to_dict(self) -> dict[str, Any]:
        """{"kind": "bytes"}."""
        return {"kind": self.kind}


class AdditionTokenizer:
    """Streaming addition: ``123+456`` becomes BOS a0 b0 a1 b1 ... 0 0, least significant digit first.

    The last column, (0, 0), is there for the last carry. Digits of a are ids 0-9, of b 10-19; ids 20-29 are kept for sum digits, which this layout never feeds;
    BOS is 30. The head's ten rows are digits; the sum is read at the positions of b.
    """

    kind = "addition"
    vocab_size, head_size = 31, 10
    feeds_back = False
    b_offset = 10
    start = 30

    def encode(self, text: str) -> list[int]:
        """Ids of ``a+b``.

        Raises
        ------
        ValueError
            If the text is not two decimal numbers joined by "+".
        """
        match = re.fullmatch(r"([0-9]+)\+([0-9]+)", text.strip())
        if match is None:
            raise ValueError(
                f"a prompt for addition is two decimal numbers such as 123+456, got {text[:40]!r}"
            )
        a, b = (number[::-1] for number in match.groups())
        columns = max(len(a), len(b)) + 1
        ids = [self.start]
        for x, y in zip(a.ljust(columns, "0"), b.ljust(columns, "0"), strict=True):
            ids += [int(x), int(y) + self.b_offset]
        return ids

    def decode(self, rows: list[int]) -> str:
        """The sum, from the rows at every position of a prompt."""
        digits = "".join(str(row) for row in rows[2::2])
        return digits[::-1].lstrip("0") or "0"

    def to_dict(self) -> dict[str, Any]:
        """{"kind": "addition"}."""
        return {"kind": self.kind}


class ParityTokenizer:
    """Bits ``0110`` as ids 0 and 1 behind BOS (2). The head's two rows are the parity of the bits so far; the last one is the answer."""

    kind = "parity"
    vocab_size, head_size = 3, 2
    feeds_back = False
    start = 2

    def encode(self, text: str) -> list[int]:
        """Ids of a string of bits; ValueError if it is none."""
        if not re.fullmatch(r"[01]+", text.strip()):
            raise ValueError(f"a prompt for parity is a string of bits such as 0110, got {text[:40]!r}")
        return [self.start, *(int(bit) for bit in text.strip())]

    def decode(self, rows: list[int]) -> str:
        """The parity of all bits."""
        return str(rows[-1])

    def to_dict(self) -> dict[str, Any]:
        """{"kind": "parity"}."""
        return {"kind": self.kind}


MODULUS = 97


class ModularTokenizer:
    """``a+b`` modulo 97: ids a, 97 + b and "=" (194); the head's row at "=" is the sum.

    With one set of ids for both operands the sum's symmetry is given away, and a model learns the rule without weight decay.
    """

    kind = "modular-addition"
    vocab_size, head_size = 2 * MODULUS + 1, MODULUS
    feeds_back = False
    b_offset, equals = MODULUS, 2 * MODULUS

    def encode(self, text: str) -> list[int]:
        """Ids of ``a+b``; ValueError if these are not two numbers below 97."""
        match = re.fullmatch(r"([0-9]+)\+([0-9]+)", text.strip())
        numbers = [int(number) for number in match.groups()] if match else []
        if not numbers or max(numbers) >= MODULUS:
            raise ValueError(
                f"a prompt for modular addition is two numbers below {MODULUS} such as 12+96, got {text[:40]!r}"
            )
        a, b = numbers
        return [a, b + self.b_offset, self.equals]

    def decode(self, rows: list[int]) -> str:
        """The sum."""
        return str(rows[-1])

    def to_dict(self) -> dict[str, Any]:
        """{"kind": "modular-addition"}."""
        return {"kind": self.kind}


_TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    ByteTokenizer.kind: ByteTokenizer,
    AdditionTokenizer.kind: AdditionTokenizer,
    ParityTokenizer.kind: ParityTokenizer,
    ModularTokenizer.kind: ModularTokenizer,
}

SUBWORD_KINDS = ("tokenizers", "sentencepiece")
"""Kinds that carry their data (``mmfree/subword.py``)."""


def tokenizer_from_dict(data: Any) -> Tokenizer:
    """The tokenizer that ``data`` describes; ValueError if it describes none, or its data is damaged."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str):
        kind = None
    if kind in SUBWORD_KINDS:
        from mmfree.subword import subword_from_dict

        return subword_from_dict(data)
    if kind not in _TOKENIZERS:
        known = ", ".join(sorted((*_TOKENIZERS, *SUBWORD_KINDS)))
        raise ValueError(f"tokenizer: kind must be one of {known}, got {kind!r}")
    return _TOKENIZERS[kind]()


def describe_tokenizer(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` for people: what is long is replaced by its length."""
    return {
        key: f"{len(value):,} characters" if isinstance(value, str) and len(value) > 80 else value
        for key, value in data.items()
    }
