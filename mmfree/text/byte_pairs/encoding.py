"""A byte-level BPE: text to ids and back, as a ``tokenizer.json`` says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from mmfree.errors import InputError
from mmfree.text.byte_pairs.pieces import byte_alphabet, pieces

_PLAIN_MODEL: dict[str, Any] = {
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}
"""Options of a BPE that change nothing."""


class BytePairs:
    """A plain byte-level BPE. No text becomes one of its ``added`` tokens, which are special.

    ``added``: their ids by their names; ``tokens``: the names of all ids, in which characters stand
    for bytes; ``merges``: pairs of names, the most urgent first.

    Raises
    ------
    InputError
        If the ``text`` of a ``tokenizer.json`` is that of another kind, or damaged.
    """

    def __init__(self, text: str) -> None:
        try:
            contents = json.loads(text)
            if not _is_plain(contents):
                raise InputError("another tokenizer than a plain byte-level BPE")
            model = contents["model"]
            self._ids: dict[str, int] = dict(model["vocab"])
            merges = [
                pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]
            ]
            self.merges = [(a, b) for a, b in merges]
            self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
            self.added: dict[str, int] = {
                token["content"]: token["id"] for token in contents["added_tokens"]
            }
        except InputError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"no tokenizer.json: {error!r}") from None
        self._bytes = byte_alphabet()
        if set(self._bytes) - self._ids.keys():
            raise InputError("a byte-level BPE without all bytes")
        self._values = {character: byte for byte, character in enumerate(self._bytes)}
        self.tokens = {number: token for token, number in (self._ids | self.added).items()}
        self._of_piece = lru_cache(maxsize=1 << 16)(self._merged)

    def ids(self, text: str) -> Iterator[int]:
        """Ids of a text, of Unicode's characters."""
        for piece in pieces(text):
            yield from self._of_piece(piece)

    def _merged(self, piece: str) -> tuple[int, ...]:
        """Ids of a piece: of all pairs in it the first in the list of merges becomes one, again
        and again.
        """
        parts = [self._bytes[byte] for byte in piece.encode("utf-8")]
        while len(parts) > 1:
            ranks = [self._ranks.get(pair) for pair in pairwise(parts)]
            known = [rank for rank in ranks if rank is not None]
            if not known:
                break
            best, merged, place = min(known), [], 0
            while place < len(parts):
                joined = place < len(ranks) and ranks[place] == best
                merged.append("".join(parts[place : place + 1 + joined]))
                place += 1 + joined
            parts = merged
        return tuple(self._ids[part] for part in parts)

    def text(self, ids: list[int]) -> str:
        """Text of ids, added tokens by their names; what is no character becomes U+FFFD."""
        names = "".join(self.tokens.get(number, "") for number in ids)
        return bytes(self._values[character] for character in names).decode("utf-8", "replace")


def _is_plain(contents: Any) -> bool:
    """Whether a tokenizer.json is a byte-level BPE and nothing else."""
    model, before, after = contents["model"], contents["pre_tokenizer"], contents["decoder"]
    return bool(
        contents.get("normalizer") is None
        and contents.get("post_processor") is None
        and all(token["special"] for token in contents["added_tokens"])
        and model["type"] == "BPE"
        and all(model.get(name, value) == value for name, value in _PLAIN_MODEL.items())
        and before is not None
        and (before["type"], before["add_prefix_space"]) == ("ByteLevel", False)
        and before.get("use_regex", True) is True
        and after is not None
        and after["type"] == "ByteLevel"
    )
