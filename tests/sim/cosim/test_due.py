"""What must come out of a run is known before it: positions, and where a stop token ends them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmfree.contract.pow2 import SATURATION_SITES
from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.golden.sampling import Sampler
from sim.cosim.due import expect
from sim.cosim.run_folder import Sequence
from sim.cosim.verdict import judge
from tests.support.random_tapes import random_tape
from tests.support.sim.shapes import ADDITION, ODD

TAPE = ODD.tape(5, wild=False)
STATE = np.random.default_rng(0).integers(-99, 99, (1, 20)).astype(np.int32)


@pytest.mark.parametrize(
    ("sequence", "positions"),
    [
        (Sequence(prompt=[3]), 1),
        (Sequence(prompt=[3, 1, 4]), 3),
        (Sequence(prompt=[3, 1, 4], generate=1), 3),
        (Sequence(prompt=[3, 1, 4], generate=6), 8),
        (Sequence(prompt=[3, 1], generate=6, temperature=64, seed=9), 7),
        (Sequence(prompt=[3, 1], state=STATE), 2),
    ],
)
def test_all_of_what_was_asked_for_is_due(sequence: Sequence, positions: int) -> None:
    due = judge(expect([sequence], [TAPE]), []).due
    config = TAPE.config
    assert due == {
        "rows": positions,
        "last": positions,
        "logits": positions * config.head_size,
        "states": positions * config.num_state_words,
        "saturations": positions * len(SATURATION_SITES),
        "final": config.num_state_words,
    }


def test_it_is_what_the_golden_model_plays() -> None:
    (due,) = expect([Sequence(prompt=[3, 1], generate=4, state=STATE)], [TAPE])
    golden, state = Golden(TAPE), STATE[:, None]
    tokens = [3, 1]
    for position in range(5):
        golden.reset_counters()
        logits, state = golden.step(np.array([tokens[position]]), state)
        assert (due.logits[position] == logits[0]).all()
        assert (due.states[position] == state[:, 0]).all()
        counted = [golden.saturations[site] for site in SATURATION_SITES]
        assert due.saturations[position].tolist() == counted
        if position > 0:
            tokens.append(int(golden.next_token(logits)[0]))
    assert due.rows[1:].tolist() == tokens[2:]
    assert (due.final[0] == state[:, 0]).all()
    assert due.last.tolist() == [True, False, False, False, True]


def test_a_stop_token_ends_a_sequence_where_the_golden_model_says() -> None:
    asked = Sequence(prompt=[3, 2], generate=40, temperature=64)
    (everything,) = expect([asked], [TAPE])
    rows = everything.rows.tolist()
    stop = next(row for row in rows[3:] if row not in rows[1:3])
    stopped = Sequence(prompt=[3, 2], generate=40, temperature=64, stop=stop)
    (due,) = expect([stopped], [TAPE])
    assert due.rows.tolist() == rows[: rows.index(stop, 1) + 1]
    assert due.last.tolist() == [True, *[False] * (due.positions - 2), True]
    assert (due.final[0] == due.states[-1]).all()


def test_a_stop_token_within_the_prompt_ends_nothing() -> None:
    (row,) = expect([Sequence(prompt=[3])], [TAPE])[0].rows.tolist()
    (due,) = expect([Sequence(prompt=[3, 1, 2], generate=1, stop=row)], [TAPE])
    assert due.positions == 3


def test_each_sequence_has_its_model_and_starts_afresh() -> None:
    tapes = [ADDITION.tape(1, wild=False), ADDITION.tape(3, wild=True)]
    asked = [Sequence(prompt=[1, 2], model=model) for model in (0, 1, 0)]
    first, second, third = expect(asked, tapes)
    assert judge([first], [third]).bit_exact
    assert not judge([first], [second]).bit_exact


def test_bad_sequences_are_refused() -> None:
    bad = {
        "at least one token": Sequence(prompt=[]),
        "token 7 is not in the vocabulary of 7": Sequence(prompt=[1, 7]),
        "stop token 5 is not in the vocabulary of 5": Sequence(prompt=[1], stop=5),
        r"temperature must lie in 0\.\.255 64ths, got -1": Sequence(prompt=[1], temperature=-1),
        r"--seed must lie in 0\.\.2\^64-1 to sample, got -3": Sequence(prompt=[1], seed=-3),
        r"generate must lie in 0\.\.65535, got 65536": Sequence(prompt=[1], generate=65536),
        "there is no model 1: 1 were given": Sequence(prompt=[1], model=1),
        r"a state must be of shape \(1, 20\), got \(20, 1\)": Sequence(prompt=[1], state=STATE.T),
        "token -1 is not in the vocabulary of 7": Sequence(prompt=[1, -1]),
        "stop token -1 is not in the vocabulary of 5": Sequence(prompt=[1], stop=-1),
        "generate must lie in .* got -1": Sequence(prompt=[1], generate=-1),
        "there is no model -1": Sequence(prompt=[1], model=-1),
    }
    for message, sequence in bad.items():
        with pytest.raises(InputError, match=message):
            expect([sequence], [TAPE])
    with pytest.raises(InputError, match="at least one sequence to play, got none"):
        expect([], [TAPE])


def test_rows_that_are_no_tokens_cannot_be_fed_back() -> None:
    """One row may be chosen of a head with more rows than there are tokens; it is the last."""
    config = replace(ODD.config, head_size=8)
    tape = random_tape(np.random.default_rng(0), **config.to_dict())
    (due,) = expect([Sequence(prompt=[3], generate=1)], [tape])
    assert due.positions == 1
    with pytest.raises(InputError, match="the head's rows are not tokens of this vocabulary"):
        expect([Sequence(prompt=[3], generate=2)], [tape])
    equal = random_tape(np.random.default_rng(0), **replace(config, head_size=7).to_dict())
    assert expect([Sequence(prompt=[3], generate=2)], [equal])[0].positions == 2


def test_a_sequence_is_drawn_from_its_own_seed() -> None:
    """Whatever was drawn before it, and only what is chosen is drawn, not the prompt's rows."""
    asked = Sequence(prompt=[3, 1, 2], generate=6, temperature=200, seed=9)
    alone, again = expect([asked], [TAPE]), expect([replace(asked, seed=8), asked], [TAPE])
    assert judge(alone, again[1:]).bit_exact
    assert not judge(alone, again[:1]).bit_exact
    sampler, golden = Sampler(9), Golden(TAPE)
    logits = alone[0].logits
    assert alone[0].rows[:2].tolist() == [int(golden.next_token(v[None])[0]) for v in logits[:2]]
    drawn = [sampler.choose(values, 200, 9) for values in logits[2:]]
    assert alone[0].rows[2:].tolist() == drawn
    greedy = [int(golden.next_token(values[None])[0]) for values in logits[2:]]
    assert drawn != greedy


def test_a_state_that_is_given_stays_as_it_is() -> None:
    """It is the caller's."""
    given = STATE.copy()
    expect([Sequence(prompt=[3, 1], state=given)], [TAPE])
    assert np.array_equal(given, STATE)
