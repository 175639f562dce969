"""What a verb of the command line gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Values for ``--json``, text for people, and whether every check passed."""

    values: dict[str, Any]
    text: str
    ok: bool = True
