"""Kinds of tokenizers that a tape carries whole."""

from __future__ import annotations

SUBWORD_KINDS = ("tokenizers", "sentencepiece")
"""Kinds that carry their data (``mmfree/text/subword.py``)."""
