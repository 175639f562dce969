"""The text of a model of stories: mended, each story once, and which of them it never sees.

    python -m tools.stories.text FILE... --out stories.txt

Files of stories, each followed by a line "<|endoftext|>"; or, in a file without such a line, one
after another, their paragraphs parted by a blank line and they by none. Or names of data sets
(hf:NAME[:CONFIG[:SPLIT]]), of which --rows takes a part. --sha256 refuses text that is not the one
that it should be. Mojibake is mended, typographic signs become those of ASCII, and of two stories
with a line of 60 characters in common the later one is left out: so a story that is held out (by
its own hash: one in ten, as "mmfree train" does it) has no such line in common with the others.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmfree.errors import InputError
from mmfree.files.atomic import write_atomically
from mmfree.text.sources import SEPARATOR, documents, expand, is_name

SHARED_CHARACTERS = 60
"""A line of as many is a story's own: two stories that have it in common are one."""

SHORTEST = 100
"""Characters of a story: less is a title, or a piece."""

SIGNS = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
        "—": " - ",
        "–": "-",
        "…": "...",
        "\u00a0": " ",
        "\u200b": "",
        "\ufeff": "",
    }
)
"""Typographic signs, of which a small vocabulary has none to spare."""

_MOJIBAKE = re.compile("[ÂÃâ][\u0080-\u00ff\u0152-\u2122]{1,2}")
_CUT_OFF_QUOTE = re.compile("â€\u009d?")
"""A closing quotation mark whose last byte stands for nothing in Windows' code page."""

_BLANK_LINES = re.compile(r"\n{3,}")
_STORY_END = re.compile(r"(?<!\n)\n(?!\n)")


def mended(story: str) -> str:
    """A story without mojibake, typographic signs, or white space where nobody sees it."""
    story = _MOJIBAKE.sub(_decoded_again, story)
    story = _CUT_OFF_QUOTE.sub('"', story).translate(SIGNS)
    lines = (" ".join(line.split()) for line in story.splitlines())
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _decoded_again(match: re.Match[str]) -> str:
    """UTF-8 that was read as Windows' code page: what it was."""
    try:
        return match[0].encode("cp1252").decode("utf-8")
    except UnicodeError:
        return match[0]


def stories_of(path: Path, rows: range | None) -> Iterator[str]:
    """The stories of a file or data set, as they stand there."""
    found = (document.text for document in documents([path]))
    if is_name(path):
        for row, text in enumerate(found):
            if rows is None or row in rows:
                yield text
            elif row >= rows.stop:
                return
        return
    texts = list(found)
    # Pieces of one text are parted again where its stories are.
    whole = [] if SEPARATOR in path.read_text(encoding="utf-8") else ["".join(texts)]
    for text in whole:
        yield from _STORY_END.split(text)
    if not whole:
        yield from texts


def each_once(stories: Iterable[str]) -> Iterator[str]:
    """The stories that share no long line with an earlier one, mended."""
    seen: set[str] = set()
    for story in map(mended, stories):
        lines = {line for line in story.split("\n") if len(line) >= SHARED_CHARACTERS}
        if len(story) < SHORTEST or not lines or lines & seen:
            continue
        seen |= lines
        yield story


def main() -> None:
    """Write the stories, and say what they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path, nargs="+", metavar="FILE", help="or hf:NAME")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .txt")
    parser.add_argument(
        "--rows", metavar="FIRST:END", help="of each data set by name, such as 0:20000 (all)"
    )
    parser.add_argument("--sha256", metavar="HASH", help="of what is to be written")
    options = parser.parse_args()
    try:
        first, _, end = (options.rows or "0:0").partition(":")
        rows = None if options.rows is None else range(int(first), int(end))
    except ValueError:
        parser.error(f"argument --rows: FIRST:END must be two numbers, got {options.rows!r}")
    try:
        found = (story for path in expand(options.text) for story in stories_of(path, rows))
        kept = list(each_once(found))
        if not kept:
            raise InputError("no story of 100 characters or more in the text")
        data = "".join(f"{story}\n{SEPARATOR}\n" for story in kept).encode()
        digest = hashlib.sha256(data).hexdigest()
        if options.sha256 is not None and digest != options.sha256:
            raise InputError(
                f"the stories have sha256 {digest}, not {options.sha256}: nothing written"
            )
        write_atomically(options.out, data)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(f"{options.out}: {len(kept):,} stories, {len(data):,} bytes, sha256 {digest}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
