"""Running parity of bits: a state that changes its sign at every 1.

A gate in [0, 1] cannot do that, the signed gate can.
"""

from __future__ import annotations

import numpy as np

from mmfree.text.batch import Batch
from mmfree.text.task_tokenizers import ParityTokenizer


def parities(rng: np.random.Generator, bits: int, count: int) -> Batch:
    """``count`` sequences of ``bits`` random bits, scored on the parity so far at each of them."""
    drawn = rng.integers(0, 2, (count, bits))
    ids = np.full((count, bits + 1), ParityTokenizer.start, dtype=np.int64)
    ids[:, 1:] = drawn
    targets, mask = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
    targets[:, 1:] = np.cumsum(drawn, axis=1) % 2
    mask[:, 1:] = True
    return Batch(ids, targets, mask)


def training_parities(rng: np.random.Generator, batch_size: int, most_bits: int) -> Batch:
    """A batch of sequences of one length, which is drawn from 1..most_bits."""
    return parities(rng, int(rng.integers(1, most_bits + 1)), batch_size)
