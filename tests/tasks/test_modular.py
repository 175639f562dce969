"""Addition modulo 97."""

from __future__ import annotations

import hashlib

import numpy as np

from mmfree.tasks.modular import examined_pairs, held_out_pairs, split_pairs, training_pairs
from mmfree.text.batch import Batch


def pairs(batch: Batch) -> list[list[int]]:
    """(a, b) of the sequences."""
    a, b = batch.ids[:, 0], batch.ids[:, 1] - 97
    return np.stack([a, b], axis=1).tolist()


def test_the_split_is_whole_and_disjoint() -> None:
    training, held_out = split_pairs()
    assert len(training) == int(0.4 * 97 * 97)
    together = {tuple(pair) for pair in [*training.tolist(), *held_out.tolist()]}
    assert together == {(a, b) for a in range(97) for b in range(97)}


def test_sums_are_modulo_97() -> None:
    batch = examined_pairs(np.array([[50, 46], [50, 47], [96, 96]]))
    assert batch.targets[:, 2].tolist() == [96, 0, 95]
    assert batch.mask.tolist() == [[False, False, True]] * 3
    assert (batch.ids[:, 2] == 194).all()


def test_training_never_sees_a_held_out_pair() -> None:
    training = {tuple(pair) for pair in split_pairs()[0].tolist()}
    drawn = training_pairs(np.random.default_rng(3), 512)
    assert {tuple(pair) for pair in pairs(drawn)} <= training
    assert len(drawn.ids) == 512
    held_out = held_out_pairs(np.random.default_rng(3), 400)
    assert not {tuple(pair) for pair in pairs(held_out)} & training
    assert len({tuple(pair) for pair in pairs(held_out)}) == 400


def test_the_split_is_that_of_every_version() -> None:
    """A model that was trained earlier is examined on pairs that it has not seen."""
    training, held_out = split_pairs()
    digest = hashlib.sha256(training.astype("<i8").tobytes()).hexdigest()
    assert digest == "e306e2caacfff64e90b2059dc2baf754738bf9a6a31432babb75cb0a35c155c1"
    assert (len(training), len(held_out)) == (3763, 5646)


def test_a_batch_holds_no_pair_twice_and_at_most_all() -> None:
    for asked, got in ((512, 512), (3763, 3763), (5000, 3763)):
        drawn = pairs(training_pairs(np.random.default_rng(1), asked))
        assert len(drawn) == len({tuple(pair) for pair in drawn}) == got


def test_all_pairs_held_out_are_examined_unless_a_number_is_given() -> None:
    every = held_out_pairs(np.random.default_rng(0), None)
    assert pairs(every) == split_pairs()[1].tolist()
    one, other = (pairs(held_out_pairs(np.random.default_rng(seed), 50)) for seed in (1, 2))
    assert one != other
