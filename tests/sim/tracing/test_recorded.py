"""The comparer where a chip's writes are recorded: errors planted in them, and what each must get.

The golden model plays for the simulator (tests/support/sim/golden_chip.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sim.cosim.run
from mmfree.chip.sizing import design_for
from mmfree.contract.shape import ModelConfig
from sim.cosim.due import expect
from sim.cosim.run import CosimResult, Sequence, cosim
from sim.tracing.writes import Write
from tests.support.random_tapes import random_tape
from tests.support.sim.golden_chip import GoldenChip, Plant, install

CONFIG = ModelConfig(vocab_size=9, head_size=9, hidden_size=10, intermediate_size=14, num_layers=2)
"""Two layers of 10 channels, of which each takes 12 in the chip: whole row blocks."""

TAPE = random_tape(np.random.default_rng(3), **CONFIG.to_dict())
DESIGN = design_for(TAPE, 16)
ASKED = [Sequence(prompt=[3, 1]), Sequence(prompt=[2, 7], generate=4)]
"""7 positions."""

WORDS = 9 + 20
"""Logits and state of a position."""

Change = Callable[[list[Write]], list[Write]]


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small a model is."""
    monkeypatch.setattr(sim.cosim.run, "READ_VALUES", WORDS - 1)


def play() -> CosimResult:
    return cosim([TAPE], DESIGN, ASKED)


def on(token: int, change: Change) -> Plant:
    """Other writes than those of one token of the run, counted from 0."""

    def plant(chip: GoldenChip) -> None:
        if chip.played == token:
            chip.writes = change(chip.writes)

    return plant


def place_of(write: Write) -> tuple[int, str, int]:
    return write.segment, write.vector, write.index


def wrong(segment: int, vector: str, index: int) -> Change:
    return lambda writes: [
        replace(w, value=w.value ^ 1) if place_of(w) == (segment, vector, index) else w
        for w in writes
    ]


def test_a_faithful_chip_is_bit_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its ports say of the logits, which nobody reads."""

    def unreadable(chip: GoldenChip) -> None:
        chip.logits[:] = 99

    (chips, result) = (install(monkeypatch, unreadable), play())
    assert result.bit_exact, result.divergence
    assert (result.tokens, result.compared, result.due) == (7, 7 * WORDS, 7 * WORDS)
    due = expect(ASKED, [TAPE])
    assert np.array_equal(result.logits, np.concatenate([played.logits for played in due]))
    assert [values.tolist() for values in result.states] == [d.final[0].tolist() for d in due]
    assert chips[0].run.recorded


def test_few_values_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.cosim.run, "READ_VALUES", WORDS)
    chips = install(monkeypatch)
    assert play().bit_exact
    assert not chips[0].run.recorded


@pytest.mark.parametrize("token", [0, 4])
@pytest.mark.parametrize(
    ("segment", "vector", "index", "place"),
    [
        (5, "state", 12 + 2, ("layer 1 gates", "state", 2)),
        (9, "logits", 8, ("head", "logits", 8)),
    ],
)
def test_a_wrong_value_is_one_difference_in_its_place(
    segment: int,
    vector: str,
    index: int,
    place: tuple[str, str, int],
    token: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, on(token, wrong(segment, vector, index)))
    result = play()
    assert not result.bit_exact
    assert sum(result.verdict.differing.values()) == 1
    assert result.tokens == token + 1, "nothing is played after a difference"
    found: Any = result.divergence
    assert (found["segment"], found["vector"], found["index"]) == place
    assert (found["sequence"], found["position"]) == {0: (0, 0), 4: (1, 2)}[token]
    assert found["got"] == found["expected"] ^ 1
    assert found["cycle"] == 10 * segment + index - (12 if vector == "state" else 0)


def test_the_first_write_that_differs_is_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the token as it was played: it is not played again."""
    changes = [wrong(2, "x", 9), wrong(9, "logits", 0)]
    chips = install(monkeypatch, on(1, lambda writes: changes[1](changes[0](writes))))
    result = play()
    found: Any = result.divergence
    assert (found["segment"], found["vector"], found["index"]) == ("layer 0 output", "x", 9)
    assert chips[0].played == 1


ODD_WRITES: dict[str, tuple[Change, tuple[str, str, int, bool, bool]]] = {
    "a logit is missing": (
        lambda writes: [w for w in writes if place_of(w) != (9, "logits", 4)],
        ("head", "logits", 4, True, False),
    ),
    "a state word is missing": (
        lambda writes: [w for w in writes if place_of(w) != (1, "state", 0)],
        ("layer 0 gates", "state", 0, True, False),
    ),
    "a logit is written twice": (
        lambda writes: [*writes, replace(writes[-1], cycle=999)],
        ("head", "logits", 8, False, True),
    ),
    "a logit that is none": (
        lambda writes: [*writes, replace(writes[-1], index=9)],
        ("head", "logits", 9, False, True),
    ),
    "a channel that is none": (
        lambda writes: (
            writes + [replace(w, index=11) for w in writes if place_of(w) == (1, "state", 0)]
        ),
        ("layer 0 gates", "state", 11, False, True),
    ),
    "nothing at all": (lambda writes: [], ("embedding", "x", 0, True, False)),
}
"""What differs, and its place; whether something is expected there, and was got."""


@pytest.mark.parametrize(("change", "place"), ODD_WRITES.values(), ids=ODD_WRITES)
def test_vectors_that_are_not_whole_are_a_difference(
    change: Change, place: tuple[str, str, int, bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to compare of that token: it counts as missing."""
    install(monkeypatch, on(3, change))
    result = play()
    assert not result.bit_exact
    assert result.tokens == 3
    assert result.verdict.missing["logits"] == 4 * 9
    found: Any = result.divergence
    expected, got = found["expected"] is not None, found["got"] is not None
    assert (found["segment"], found["vector"], found["index"], expected, got) == place


def test_the_state_after_a_sequence_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a caller goes on from is in the memory: not what was once written there."""

    def spoil(chip: GoldenChip) -> None:
        if chip.played == 1:
            chip.state[chip.channels + 7] ^= 1 << 14

    install(monkeypatch, spoil)
    result = play()
    assert not result.bit_exact
    assert result.verdict.differing["final"] == 1
    assert result.divergence is not None
    assert (result.divergence["vector"], result.divergence["segment"]) == ("final", "none")
