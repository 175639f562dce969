"""Reading figures out of the project's documents, to compare them with what they come from."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def text_of(name: str) -> str:
    """A page of docs/, in which a line break within a paragraph is a space."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.sub(r"(?<=[^\n|])\n *(?=[^\n|\-#])", " ", text)


def numbers_in(text: str, pattern: str) -> list[float]:
    """The groups of the one place that a pattern matches, as numbers."""
    found = re.findall(pattern, text)
    assert len(found) == 1, f"{len(found)} places for {pattern!r}: reword it there and here"
    groups = found[0] if isinstance(found[0], tuple) else (found[0],)
    return [float(group.replace(",", "").rstrip(".")) for group in groups]


def table_rows(text: str, header: str) -> list[list[str]]:
    """The cells of a table's rows, without its header, which begins with ``header``."""
    (start,) = (match.start() for match in re.finditer(f"^{re.escape(header)}", text, re.MULTILINE))
    lines = text[start:].partition("\n\n")[0].splitlines()[2:]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
