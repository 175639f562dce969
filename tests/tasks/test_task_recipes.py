"""The presets for parity and modular addition, trained as users train them, and what they reach.

Figures are the golden model's; the chip runs a sample.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from mmfree.chip.sizing import design_for
from mmfree.inference.scoring import evaluate_task
from mmfree.inference.tape_backends import GoldenBackend
from mmfree.tasks.modular import examined_pairs, held_out_pairs, split_pairs
from mmfree.tasks.parity import parities
from mmfree.training.metrics import ACCURACY_NAME
from mmfree.training.presets import modular_addition, parity
from mmfree.training.train import train
from sim.cosim.run import cosim
from sim.cosim.run_folder import Sequence
from tests.support.models import tape_of


@pytest.mark.slow
def test_parity_of_512_bits(tmp_path: Path) -> None:
    """Trained on at most 32 bits; 300 sequences on golden, one on the chip."""
    train(parity(), tmp_path)
    tape = tape_of(tmp_path)
    assert evaluate_task(GoldenBackend(tape), "parity", digits=512, examples=300).accuracy == 1.0
    batch = parities(np.random.default_rng(5), 512, 1)
    result = cosim([tape], design_for(tape, 32), [Sequence(prompt=batch.ids[0].tolist())])
    assert result.bit_exact, result.divergence
    assert batch.num_exact(np.array(result.rows)) == 1


@pytest.mark.slow
def test_modular_addition_is_learned_late(tmp_path: Path) -> None:
    """All 9,409 pairs on golden; 40 held-out ones on the chip."""
    train(modular_addition(), tmp_path)
    tape = tape_of(tmp_path)
    backend = GoldenBackend(tape)
    for pairs in split_pairs():
        batch = examined_pairs(pairs)
        logits, _ = backend.run(batch.ids, backend.state(len(batch.ids)))
        assert batch.num_exact(logits.argmax(axis=-1)) >= 0.99 * len(pairs)
    with (tmp_path / ACCURACY_NAME).open(newline="") as file:
        curve = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    assert max(training - held_out for _, training, held_out in curve) >= 0.30
    batch = held_out_pairs(np.random.default_rng(1), 40)
    sequences = [Sequence(prompt=ids) for ids in batch.ids.tolist()]
    result = cosim([tape], design_for(tape, 128), sequences)
    assert result.bit_exact, result.divergence
    logits, _ = backend.run(batch.ids, backend.state(40))
    assert np.array_equal(np.array(result.rows), logits.argmax(axis=-1))
