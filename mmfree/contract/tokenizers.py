"""Kinds of tokenizers that a tape carries whole."""

from __future__ import annotations

from typing import Any

SUBWORD_KINDS = ("tokenizers", "sentencepiece")
"""Kinds that carry their data (``mmfree/text/subword.py``)."""


_LONG = 80
"""Characters of a value that people are shown."""


def describe_tokenizer(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` for people: what is long is replaced by its length."""
    return {
        key: f"{len(value):,} characters"
        if isinstance(value, str) and len(value) > _LONG
        else value
        for key, value in data.items()
    }
