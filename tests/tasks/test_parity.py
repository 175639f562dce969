"""Parity."""

from __future__ import annotations

import numpy as np

from mmfree.tasks.parity import parities, training_parities


def test_targets_are_the_parity_of_the_bits_so_far() -> None:
    batch = parities(np.random.default_rng(0), 40, 5)
    assert (batch.ids[:, 0] == 2).all()
    for ids, targets, mask in zip(batch.ids, batch.targets, batch.mask, strict=True):
        parity = 0
        for position in range(1, 41):
            parity ^= int(ids[position])
            assert targets[position] == parity
        assert mask[1:].all()
        assert not mask[0]


def test_training_lengths_reach_from_one_to_the_most() -> None:
    lengths = {
        training_parities(np.random.default_rng(s), 2, 5).ids.shape[1] - 1 for s in range(60)
    }
    assert lengths == {1, 2, 3, 4, 5}
