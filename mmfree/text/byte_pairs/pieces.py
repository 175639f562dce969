"""Text as a byte-level BPE sees it: pieces, in which pairs are merged, and an alphabet of bytes.

Both are GPT-2's (Radford et al., 2019), as the ``tokenizers`` library has them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_PIECE = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
)
"""A piece of a text of ASCII."""

_WHITE_SPACE = frozenset(
    map(chr, (*range(9, 14), 32, 133, 160, 5760, *range(8192, 8203), 8232, 8233, 8239, 8287, 12288))
)
"""Characters that Unicode calls white space. Python takes the separators 28 to 31 for some, too."""


def pieces(text: str) -> Iterator[str]:
    """Contractions, words, numbers and other signs, each with the blank before it, and white space.

    Joined they are the text. A letter that is younger than Python's Unicode (3.11: 14.0) counts as
    a sign, where a library with a newer one takes it for a letter.
    """
    alike = text if text.isascii() else "".join(map(_alike, text))
    for match in _PIECE.finditer(alike):
        yield text[match.start() : match.end()]


def _alike(character: str) -> str:
    """A character of ASCII that is of the same class, and begins no contraction."""
    if character.isascii():
        return character
    if character in _WHITE_SPACE:
        return "\t"
    return {"L": "A", "N": "1"}.get(unicodedata.category(character)[0], "!")


def byte_alphabet() -> list[str]:
    """The character that stands for each byte: itself if it can be seen, else one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = iter(range(256, 512))
    return [chr(byte if byte in seen else next(unseen)) for byte in range(256)]
