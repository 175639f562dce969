"""Batches: sequences of token ids with the targets they are scored on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets.

    ``ids`` and ``targets``: int64 [B, T]. ``mask``: bool [B, T], True where a position is scored.
    """

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    mask: NDArray[np.bool_]

    def num_exact(self, rows: NDArray[np.integer]) -> int:
        """Number of sequences with the target's row at every scored position of ``rows``, the rows
        that the head chose, [B, T].
        """
        return int(((rows == self.targets) | ~self.mask).all(axis=1).sum())
