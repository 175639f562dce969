"""The worked vectors of docs/arithmetic.md, section 18."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_TEXT = (Path(__file__).parents[2] / "docs" / "arithmetic.md").read_text(encoding="utf-8")
_BLOCK = re.search(r"```json\n(.*?)```", _TEXT, re.S)
assert _BLOCK is not None
VECTORS: dict[str, Any] = json.loads(_BLOCK.group(1))
