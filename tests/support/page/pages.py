"""Pages of small models, and pages that were changed."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmfree.tape.reading import AnyTape
from sim.page.limits import design_of
from sim.page.page import packed, page_of

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
)


def written(folder: Path, name: str, tape: AnyTape, card: str = "") -> Path:
    path = folder / "page.html"
    path.write_bytes(page_of(tape, name, design_of(tape), card=card))
    return path


def with_part(path: Path, name: str, change: Callable[[str], str]) -> Path:
    """The page with a part changed, as its text has it."""
    text = path.read_text(encoding="utf-8")
    (part,) = re.findall(f'id="{name}">([^<]*)<', text)
    other = path.with_name("other.html")
    other.write_text(text.replace(part, change(part)), encoding="utf-8")
    return other


def with_manifest(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The page with another description of the model."""

    def changed(part: str) -> str:
        about = json.loads(unpacked(part))
        change(about)
        return packed(json.dumps(about).encode())

    return with_part(path, "manifest", changed)


def unpacked(part: str) -> bytes:
    return zlib.decompress(base64.b64decode(part))
