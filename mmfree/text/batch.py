"""Sequences with what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Sequences: ids and targets int64 [B, T].

    ``mask`` bool [B, T] marks the positions that are scored.
    """

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    mask: NDArray[np.bool_]

    def num_exact(self, rows: NDArray[np.integer]) -> int:
        """Number of sequences with the target's row at every scored position.

        ``rows``: the head's choices [B, T].
        """
        return int(((rows == self.targets) | ~self.mask).all(axis=1).sum())
