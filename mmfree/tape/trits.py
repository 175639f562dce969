"""Ternary weights as they lie on a tape: five trits to a byte (docs/tape.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmfree.tape.container import TapeError

TRITS_PER_BYTE = 5

_TRITS_OF_CODE = (np.arange(256)[:, None] // 3 ** np.arange(TRITS_PER_BYTE) % 3 - 1).astype(np.int8)
_ZEROS_OF_CODE = (_TRITS_OF_CODE == 0).sum(axis=1)


def num_trit_bytes(rows: int, fan_in: int) -> int:
    """Bytes of a packed matrix."""
    return -(-rows * fan_in // TRITS_PER_BYTE)


def pack_trits(trits: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Codes, uint8 [n]: sum of (t_j + 1) * 3^j, row after row; zero trits fill the last one."""
    flat = trits.ravel()
    padded = np.zeros(-(-flat.size // TRITS_PER_BYTE) * TRITS_PER_BYTE, dtype=np.int8)
    padded[: flat.size] = flat
    return number_trits(padded.reshape(-1, TRITS_PER_BYTE))


def number_trits(groups: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Numbers of groups [..., up to TRITS_PER_BYTE]: sum of (t_j + 1) * 3^j, uint8 [...]."""
    places, count = groups.view(np.uint8), groups.shape[-1]
    numbers = places[..., count - 1].copy()
    # Modulo 2^8, to which the 1 of every digit is added at the end.
    for place in reversed(range(count - 1)):
        numbers *= 3
        numbers += places[..., place]
    numbers += (3**count - 1) // 2
    return numbers


def unpack_trits(codes: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.int8]:
    """Inverse of ``pack_trits``; raises what ``check_codes`` does."""
    count = shape[0] * shape[1]
    check_codes(codes, count)
    return np.take(_TRITS_OF_CODE, codes, axis=0).ravel()[:count].reshape(shape)


def check_codes(codes: NDArray[np.uint8], count: int) -> None:
    """TapeError for a byte that is no code, or if what follows ``count`` trits is not 0."""
    if codes.size and codes.max() > 242:
        raise TapeError(f"weights: byte {int(codes.max())} is no code of 5 trits (0..242)")
    whole = count // TRITS_PER_BYTE
    if _TRITS_OF_CODE[codes[whole:]].ravel()[count - whole * TRITS_PER_BYTE :].any():
        raise TapeError("weights: the padding of a matrix must be zero trits")


def count_zeros(codes: NDArray[np.uint8], count: int) -> int:
    """Zeros among the ``count`` trits of a packed matrix, counted without unpacking it."""
    by_code = np.bincount(codes, minlength=256)
    return int((by_code * _ZEROS_OF_CODE).sum()) - (TRITS_PER_BYTE * codes.size - count)
