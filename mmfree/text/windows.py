"""Batches of token ids: windows to train on, and consecutive pieces to score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmfree.text.batch import Batch
from mmfree.text.corpus import Tokens
from mmfree.text.tokenizer import ByteTokenizer


def training_windows(
    rng: np.random.Generator,
    tokens: Tokens,
    batch_size: int,
    length: int,
    *,
    start: int = ByteTokenizer.start,
) -> Batch:
    """``batch_size`` windows of ``length`` tokens from random places.

    Each is a sequence by itself: its first input is ``start``.
    """
    places = rng.integers(0, len(tokens) - length + 1, batch_size)
    targets = tokens[places[:, None] + np.arange(length)].astype(np.int64)
    return Batch(inputs_of(targets, start), targets, np.ones(targets.shape, dtype=bool))


def streams(
    tokens: NDArray[np.integer],
    *,
    shortest: int = 1024,
    most: int = 64,
    start: int = ByteTokenizer.start,
) -> Batch:
    """All of ``tokens`` as parallel sequences: as many pieces as leave each at least ``shortest``
    tokens, and at most ``most``.
    """
    return pieces(tokens, max(1, min(most, len(tokens) // shortest)), start=start)


def pieces(tokens: NDArray[np.integer], count: int, *, start: int) -> Batch:
    """All of ``tokens`` as ``count`` consecutive pieces of equal length, the last one padded.

    Each begins without context, which costs a little. Padding is not scored, nor are start tokens
    between documents: these are read, but they are no text.
    """
    length = -(-len(tokens) // count)
    targets = np.full((count, length), start, dtype=np.int64)
    targets.ravel()[: len(tokens)] = tokens
    return Batch(inputs_of(targets, start), targets, targets != start)


def inputs_of(targets: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """Inputs for targets [B, T]: the start token, then the targets but the last."""
    ids = np.full_like(targets, start)
    ids[:, 1:] = targets[:, :-1]
    return ids
