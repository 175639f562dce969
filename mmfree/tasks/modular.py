"""Addition modulo 97 (grokking).

There are few pairs, and most are held out: so a model that has learned the rule can be told from
one that has learned the pairs by heart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmfree.errors import InputError
from mmfree.text.batch import Batch
from mmfree.text.task_tokenizers import MODULUS, ModularTokenizer

TRAINING_SHARE = 0.4
_SPLIT_SEED = 97


def split_pairs() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs (a, b), [n, 2]: those for training and those held out, the same in every run."""
    a, b = np.divmod(np.random.default_rng(_SPLIT_SEED).permutation(MODULUS**2), MODULUS)
    pairs = np.stack([a, b], axis=1)
    cut = int(TRAINING_SHARE * len(pairs))
    return pairs[:cut], pairs[cut:]


def examined_pairs(pairs: NDArray[np.int64]) -> Batch:
    """The pairs as sequences; the sum is asked at "="."""
    ids = np.full((len(pairs), 3), ModularTokenizer.equals, dtype=np.int64)
    ids[:, 0], ids[:, 1] = pairs[:, 0], pairs[:, 1] + ModularTokenizer.b_offset
    targets, mask = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
    targets[:, 2] = pairs.sum(axis=1) % MODULUS
    mask[:, 2] = True
    return Batch(ids, targets, mask)


def training_pairs(rng: np.random.Generator, batch_size: int) -> Batch:
    """Training pairs, drawn without repetition."""
    pairs = split_pairs()[0]
    chosen = rng.choice(len(pairs), min(batch_size, len(pairs)), replace=False)
    return examined_pairs(pairs[chosen])


def held_out_pairs(rng: np.random.Generator, count: int | None) -> Batch:
    """``count`` of the held-out pairs, or all of them."""
    pairs = split_pairs()[1]
    if count is None:
        return examined_pairs(pairs)
    if count > len(pairs):
        raise InputError(
            f"--examples must be at most {len(pairs)}, the number of held-out pairs, got {count}"
        )
    return examined_pairs(pairs[rng.choice(len(pairs), count, replace=False)])
