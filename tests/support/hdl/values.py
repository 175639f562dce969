"""Values and designs that block tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmfree.chip.design import Design
from mmfree.chip.memory_map import group_bits

IDLE = [0.0, 0.5]
"""Probabilities of an idle cycle."""

INT16_CORNERS = [-32768, -32767, -1, 0, 1, 32767]


def ints(values: Any) -> np.ndarray:
    """An array as the golden model takes it."""
    return np.array(values, dtype=np.int32)


def small_design(rows: int, columns: int, max_width: int, **changes: Any) -> Design:
    """A design with this array and small memories; ``changes``: its other fields."""
    sizes: dict[str, Any] = {
        "post_width": 1,
        "max_rows": rows,
        "weight_words": 8,
        "header_words": 2,
        "embedding_rows": 2,
        "embedding_width": columns,
        "bias_words": rows,
        "state_words": rows,
    }
    return Design(rows=rows, columns=columns, max_width=max_width, **sizes | changes)


def shares(word: int, design: Design) -> list[int]:
    """The shares of the groups of rows in a word of weights."""
    bits = group_bits(design)
    return [word >> group * bits & ((1 << bits) - 1) for group in range(design.num_groups)]
