"""What ``mmfree.chip.layout`` arranges in the memories of a chip: entries, embedding and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """An entry of the segment table: the embedding, or a segment.

    Parameters
    ----------
    kind
        "embedding", or that of the segment.
    height, width
        Rows of each matrix, 0 for the embedding; elements of the vector that it reads (the
        embedding: writes).
    fields
        Fields of its header that depend on the arithmetic.
    trits
        Decodes its matrices, each int8 [height, width], in the order in which row blocks take
        turns.
    gains
        absmax: of the vector that it reads, int32 [width, turns]: those of its matrices, then that
        of the norm before them. None for the embedding.
    bounds
        Of a `gates`: lower bounds, or biases in pow2, integers [height].
    """

    kind: str
    height: int = 0
    width: int
    fields: dict[str, int | list[int]]
    trits: Callable[[], list[NDArray[np.int8]]] = list
    gains: NDArray[np.int32] | None = None
    bounds: NDArray[np.integer[Any]] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """The contents of a tape.

    Parameters
    ----------
    entries
        That of the embedding, then those of the segments.
    embedding
        int8 [vocab_size, hidden_size].
    scales
        absmax: of each row of the embedding, uint16 [vocab_size]; else None.
    tables
        Words of the function tables, without parity.
    """

    entries: list[Entry]
    embedding: NDArray[np.int8]
    scales: NDArray[np.uint16] | None = None
    tables: list[int]
