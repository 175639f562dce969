"""What people are shown of a tokenizer."""

from __future__ import annotations

from mmfree.contract.tokenizers import SUBWORD_KINDS, describe_tokenizer


def test_what_is_long_is_replaced_by_its_length() -> None:
    """More than 80 characters of text; anything else stays."""
    data = {
        "kind": "x",
        "short": "a" * 80,
        "long": "a" * 81,
        "longer": "b" * 4321,
        "list": [1] * 90,
    }
    assert describe_tokenizer(data) == {
        "kind": "x",
        "short": "a" * 80,
        "long": "81 characters",
        "longer": "4,321 characters",
        "list": [1] * 90,
    }


def test_kinds_that_carry_their_data() -> None:
    assert SUBWORD_KINDS == ("tokenizers", "sentencepiece")
