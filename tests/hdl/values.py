"""Values that block tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

IDLE = [0.0, 0.5]
"""Probabilities of an idle cycle."""

INT16_CORNERS = [-32768, -32767, -1, 0, 1, 32767]


def ints(values: Any) -> np.ndarray:
    """An array as the golden model takes it."""
    return np.array(values, dtype=np.int32)
