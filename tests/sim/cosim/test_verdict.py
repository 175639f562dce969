"""The verdict, on made-up records: it is bit-exact only if all that was due is there, and equal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.contract.shape import ModelConfig
from sim.cosim.verdict import KINDS, Difference, Played, first_difference, join, judge

CONFIG = ModelConfig(vocab_size=5, head_size=4, hidden_size=3, intermediate_size=6, num_layers=2)
POSITIONS = 5
DUE = {
    "rows": 2 * POSITIONS,
    "last": 2 * POSITIONS,
    "logits": 2 * POSITIONS * 4,
    "states": 2 * POSITIONS * 6,
    "saturations": 2 * POSITIONS * len(SATURATION_SITES),
    "final": 2 * 6,
}


def sequence(seed: int) -> Played:
    """Five positions of random values, and the end."""
    rng = np.random.default_rng(seed)
    parts = [
        Played.position(
            row=int(rng.integers(4)),
            last=bool(rng.integers(2)),
            logits=rng.integers(-9, 9, 4).astype(np.int32),
            state=rng.integers(-9, 9, (2, 3)).astype(np.int32),
            saturations={site: int(rng.integers(9)) for site in SATURATION_SITES},
        )
        for _ in range(POSITIONS)
    ]
    return join([*parts, Played.end(CONFIG, parts[-1].states[0])])


def played() -> list[Played]:
    """Two sequences."""
    return [sequence(1), sequence(2)]


def changed(record: Played, kind: str, values: np.ndarray) -> Played:
    return Played(**record.arrays() | {kind: values})


def test_equal_records_are_bit_exact_and_say_how_much_was_compared() -> None:
    verdict = judge(played(), played())
    assert verdict.bit_exact
    assert verdict.due == verdict.compared == DUE
    assert not verdict.missing
    assert verdict.describe() == "10 tokens, 100 of 100 logits and state words compared"


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_differs_is_not_bit_exact(kind: str) -> None:
    """The last one of each kind."""
    first, second = played()
    values = second.arrays()[kind].copy()
    values[(-1,) * values.ndim] ^= True
    verdict = judge(played(), [first, changed(second, kind, values)])
    assert not verdict.bit_exact
    assert verdict.differing == dict.fromkeys(KINDS, 0) | {kind: 1}
    assert verdict.compared == DUE


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_missing_is_not_bit_exact(kind: str) -> None:
    first, second = played()
    values = second.arrays()[kind]
    verdict = judge(played(), [first, changed(second, kind, values[:-1])])
    assert not verdict.bit_exact
    assert not any(verdict.differing.values())
    assert verdict.missing == {kind: values[-1:].size}


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_not_due_is_not_bit_exact(kind: str) -> None:
    first, second = played()
    values = second.arrays()[kind]
    longer = np.concatenate([values, values[-1:]])
    verdict = judge(played(), [first, changed(second, kind, longer)])
    assert not verdict.bit_exact
    assert verdict.differing[kind] == values[-1:].size


@pytest.mark.parametrize("got", [[], [sequence(1)], [Played.nothing(CONFIG)] * 2])
def test_sequences_that_were_not_played_are_missing(got: list[Played]) -> None:
    verdict = judge(played(), got)
    assert not verdict.bit_exact
    assert verdict.due == DUE
    assert verdict.missing["rows"] == DUE["rows"] - sum(record.positions for record in got)


def test_a_sequence_too_many_is_not_bit_exact() -> None:
    verdict = judge(played(), [*played(), sequence(3)])
    assert not verdict.bit_exact
    assert verdict.due == DUE


def test_nothing_due_is_not_bit_exact() -> None:
    """Even if nothing differs from nothing."""
    assert not judge([], []).bit_exact
    assert not judge([Played.nothing(CONFIG)], [Played.nothing(CONFIG)]).bit_exact


def test_what_is_missing_is_said() -> None:
    first, second = played()
    end = Played.nothing(CONFIG)
    part = join([second.part(0), second.part(1), end])
    assert judge(played(), [first, part]).describe() == (
        "7 of 10 tokens, 70 of 100 logits and state words compared; not compared: 3 chosen rows,"
        " 3 flags of a last token, 21 saturation counters, 6 state words after a sequence"
    )


def test_what_differs_is_said() -> None:
    first, second = played()
    words = judge(played(), [first, changed(second, "rows", second.rows + 1)]).describe()
    assert words == "10 tokens, 100 of 100 logits and state words compared; 5 values differ"


def test_parts_of_a_sequence_are_its_positions() -> None:
    record = sequence(1)
    parts = [record.part(position) for position in range(POSITIONS)]
    assert all(part.positions == 1 and not part.final.size for part in parts)
    end = Played.end(CONFIG, record.final[0])
    assert judge([record], [join([*parts, end])]).bit_exact


def test_the_first_difference_names_kind_and_values() -> None:
    record = sequence(1).part(2)
    assert first_difference(record, record) is None
    logits = record.logits.copy()
    logits[0, 3] += 7
    saturations = record.saturations.copy()
    saturations[0, 2] += 1
    wrong = changed(changed(record, "logits", logits), "saturations", saturations)
    expected = int(record.logits[0, 3])
    difference = first_difference(record, wrong)
    assert difference == Difference(kind="logits", index=3, expected=expected, got=expected + 7)
    counter = first_difference(record, changed(record, "saturations", saturations))
    assert counter is not None
    assert counter.name == f"saturated_{SATURATION_SITES[2]}"
    missing = first_difference(record, changed(record, "states", record.states[:, :1]))
    assert missing is not None
    assert (missing.kind, missing.index, missing.got) == ("states", 3, None)
    extra = first_difference(changed(record, "rows", record.rows[:0]), record)
    assert extra == replace(
        Difference(kind="rows", index=0, expected=None, got=0), got=int(record.rows[0])
    )
