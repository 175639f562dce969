"""Products of ternary matrices and int8 vectors, exact and fast: sums of integers in float32.

Every partial sum of a product is an integer below 2^24 in magnitude, which float32 holds exactly in
any order of summation; so BLAS may take the sums. A large matrix stays in memory as int8 and
becomes floats block by block, in a core's cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK_WEIGHTS = 1 << 18
"""Weights that become floats at a time."""

_KEPT_WEIGHTS = 1 << 19
"""Most weights of a segment that stays in memory as floats."""

_FLOAT32_EXACT = 1 << 24
"""Integers up to this are exact in float32."""


class TernaryProduct:
    """The matrices of a segment: int8 [rows, fan_in] of -1, 0, +1 each, of one fan-in.

    They are not copied, unless they are small: then they are kept as floats.
    """

    def __init__(self, matrices: Sequence[NDArray[np.int8]]) -> None:
        fan_in = matrices[0].shape[1]
        assert 128 * fan_in <= _FLOAT32_EXACT, "float32 would not be exact"
        self._matrices = matrices
        self.rows = sum(len(matrix) for matrix in matrices)
        small = self.rows * fan_in <= _KEPT_WEIGHTS
        self._floats = np.concatenate(matrices).T.astype(np.float32) if small else None
        block_rows = max(1, _BLOCK_WEIGHTS // fan_in)
        self._block = None if small else np.empty((block_rows, fan_in), dtype=np.float32)

    def __call__(self, q: NDArray[np.integer]) -> NDArray[np.float32]:
        """T q for q [B, fan_in] of int8 values, row after row of all matrices: [B, rows]."""
        operand = q.astype(np.float32)
        if self._floats is not None:
            return operand @ self._floats
        assert self._block is not None
        sums = np.empty((len(q), self.rows), dtype=np.float32)
        done, size = 0, len(self._block)
        for matrix in self._matrices:
            for first in range(0, len(matrix), size):
                part = matrix[first : first + size]
                block = self._block[: len(part)]
                block[...] = part
                np.matmul(operand, block.T, out=sums[:, done : done + len(part)])
                done += len(part)
        return sums
