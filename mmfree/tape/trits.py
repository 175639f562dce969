"""Ternary weights as they lie on a tape: five trits to a byte (docs/tape.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmfree.tape.container import TapeError

TRITS_PER_BYTE = 5

_POWERS_OF_3 = np.array([1, 3, 9, 27, 81], dtype=np.uint8)
_ZEROS_OF_CODE = np.array(
    [sum(code // 3**j % 3 == 1 for j in range(TRITS_PER_BYTE)) for code in range(256)]
)


def num_trit_bytes(rows: int, fan_in: int) -> int:
    """Bytes of a packed matrix."""
    return -(-rows * fan_in // TRITS_PER_BYTE)


def pack_trits(trits: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Codes, uint8 [n]: sum of (t_j + 1) * 3^j, row after row; zero trits fill the last one."""
    flat = trits.ravel()
    padded = np.zeros(-(-flat.size // TRITS_PER_BYTE) * TRITS_PER_BYTE, dtype=np.int8)
    padded[: flat.size] = flat
    digits = (padded + 1).astype(np.uint8).reshape(-1, TRITS_PER_BYTE)
    codes: NDArray[np.uint8] = (digits * _POWERS_OF_3).sum(axis=1, dtype=np.uint8)
    return codes


def unpack_trits(codes: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.int8]:
    """Inverse of ``pack_trits``; TapeError for a byte that is no code, or padding that is not 0."""
    if codes.size and codes.max() > 242:
        raise TapeError(f"weights: byte {int(codes.max())} is no code of 5 trits (0..242)")
    digits = codes[:, None] // _POWERS_OF_3 % 3
    flat = digits.astype(np.int8).ravel() - np.int8(1)
    count = shape[0] * shape[1]
    if flat[count:].any():
        raise TapeError("weights: the padding of a matrix must be zero trits")
    return flat[:count].reshape(shape)


def count_zeros(codes: NDArray[np.uint8], count: int) -> int:
    """Zeros among the ``count`` trits of a packed matrix, counted without unpacking it."""
    by_code = np.bincount(codes, minlength=256)
    return int((by_code * _ZEROS_OF_CODE).sum()) - (TRITS_PER_BYTE * codes.size - count)
