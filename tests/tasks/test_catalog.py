"""The catalog of tasks: what is drawn, and what no memory holds is refused before it is."""

from __future__ import annotations

import numpy as np
import pytest

from mmfree.errors import InputError
from mmfree.tasks.addition import draw_sums, sum_ids, training_sums
from mmfree.tasks.catalog import TASKS, followed_examples, tasks_of, training_batch
from mmfree.tasks.modular import examined_pairs, split_pairs, training_pairs
from mmfree.tasks.parity import parities, training_parities
from mmfree.text.batch import Batch
from mmfree.text.task_tokenizers import AdditionTokenizer, ModularTokenizer, ParityTokenizer
from mmfree.text.tokenizer import ByteTokenizer


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def arrays(batch: Batch) -> list[list[list[int]]]:
    return [batch.ids.tolist(), batch.targets.tolist(), batch.mask.tolist()]


@pytest.mark.parametrize("name", ["addition", "addition-chains", "parity"])
@pytest.mark.parametrize("sizes", [(2**14, 2**14 + 1), (10**30, 1), (1, 10**30)])
def test_examinations_that_are_too_large_are_refused(name: str, sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="--digits times --examples must be at most 268435456"):
        TASKS[name].draw(np.random.default_rng(0), *sizes)


def test_examinations_are_those_of_the_docs() -> None:
    """Tokenizer, what a length counts, length and number by default (None: all 5,646 pairs)."""
    assert {
        name: (task.tokenizer, task.unit, task.length, task.examples)
        for name, task in TASKS.items()
    } == {
        "addition": ("addition", "digits", 100, 1000),
        "addition-chains": ("addition", "digits", 100, 1000),
        "parity": ("parity", "bits", 512, 1000),
        "modular-addition": ("modular-addition", None, 1, None),
    }
    assert tasks_of(AdditionTokenizer()) == ["addition", "addition-chains"]
    assert tasks_of(ParityTokenizer()) == ["parity"]
    assert tasks_of(ModularTokenizer()) == ["modular-addition"]
    assert tasks_of(ByteTokenizer()) == []


def test_each_task_draws_its_own_examples() -> None:
    for name, kind in (("addition", "random"), ("addition-chains", "chains")):
        drawn = TASKS[name].draw(rng(), 7, 3)
        assert drawn.ids.tolist() == sum_ids(*draw_sums(rng(), kind, 7, 3)).tolist()
    assert arrays(TASKS["parity"].draw(rng(), 7, 3)) == arrays(parities(rng(), 7, 3))
    whole = TASKS["modular-addition"].draw(rng(), 1, None)
    assert arrays(whole) == arrays(examined_pairs(split_pairs()[1]))
    assert len(whole.ids) == 5646
    assert len(TASKS["modular-addition"].draw(rng(), 1, 9).ids) == 9


def test_each_recipe_draws_its_own_batches() -> None:
    assert arrays(training_batch("addition", rng(), 5, 7)) == arrays(training_sums(rng(), 5, 7))
    assert arrays(training_batch("parity", rng(), 5, 7)) == arrays(training_parities(rng(), 5, 7))
    pairs = training_batch("modular-addition", rng(), 5, 7)
    assert arrays(pairs) == arrays(training_pairs(rng(), 5))
    with pytest.raises(AssertionError):
        training_batch("text", rng(), 5, 7)


def test_few_examples_are_followed() -> None:
    followed = followed_examples("modular-addition")
    assert followed is not None
    assert list(map(arrays, followed)) == [arrays(examined_pairs(side)) for side in split_pairs()]
    assert [followed_examples(task) for task in ("addition", "parity", "text")] == [None] * 3
