"""The tokenizer of a tape, as the scripts of a page read it."""

from __future__ import annotations

from typing import Any

from mmfree.errors import InputError
from mmfree.files.compressed import unpack_text
from mmfree.text.byte_pairs.encoding import BytePairs
from mmfree.text.byte_pairs.pieces import byte_alphabet
from mmfree.text.tokenizer import reads_text
from mmfree.text.tokenizers import tokenizer_from_dict

BUILT_IN = ("addition", "parity", "modular-addition", "bytes")
"""Kinds that web/tokenizers.js knows by their name."""


def about_tokenizer(described: dict[str, Any]) -> dict[str, Any]:
    """Kind, start token and, of a byte-level BPE, what it is made of.

    Raises
    ------
    InputError
        If a page has no such tokenizer.
    """
    tokenizer = tokenizer_from_dict(described)
    start = tokenizer.start if reads_text(tokenizer) else None
    if tokenizer.kind in BUILT_IN:
        return {"kind": tokenizer.kind, "start": start}
    kind = described["kind"]
    try:
        if kind != "tokenizers":
            raise InputError(kind)
        pairs = BytePairs(unpack_text(described["data"]).decode())
    except InputError as error:
        raise InputError(
            f"a page has no tokenizer like this one ({error}): it reads bytes, the problems of"
            " tasks, and plain byte-level BPE"
        ) from None
    return {
        "kind": "byte-pairs",
        "start": start,
        "alphabet": "".join(byte_alphabet()),
        "tokens": [pairs.tokens.get(row, "") for row in range(tokenizer.vocab_size)],
        "special": sorted(pairs.added.values()),
        "merges": [" ".join(pair) for pair in pairs.merges],
    }
