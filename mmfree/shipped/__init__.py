"""Models that come with mmfree: each a tape by its name, and a card beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent

NAMES = ("stories",)
"""What may stand in place of a path to a model. A file or folder of that name comes first."""


@dataclass(frozen=True, kw_only=True)
class Unasked:
    """What ``generate`` does with a model where nobody says.

    ``prompt``: to go on from; ``tokens``: at most, for a model that ends its texts itself.
    """

    prompt: str
    tokens: int


UNASKED = {"stories": Unasked(prompt="Once upon a time", tokens=500)}
"""By name."""

COMES_ALONG = f"{' or '.join(NAMES)}, which comes with mmfree"
"""The names for people."""


def shipped_tape(path: Path) -> Path | None:
    """The tape that ``path`` names, if it is one of NAMES and nothing of that name is there."""
    name = str(path)
    return FOLDER / f"{name}.tape" if name in NAMES and not path.exists() else None


def hidden_by(path: Path) -> str | None:
    """What to say where a file or folder comes before a shipped model of its name."""
    if str(path) not in NAMES or not path.exists():
        return None
    return f"{path}: the {'folder' if path.is_dir() else 'file'} here, not {COMES_ALONG}"


def card_of(name: str) -> str:
    """What a model was made from and how, what it can do, and what it must not be used for."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
