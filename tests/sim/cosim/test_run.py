"""Chip against golden model: whole models, many tokens, zero tolerance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sim.cosim.chip
from hdl.planning.cycles import segment_cycles
from mmfree.chip.design import Design
from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for, design_of_array
from mmfree.contract.pow2 import GATES, SATURATION_SITES
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.golden.pow2 import Golden
from mmfree.tape.pow2 import Tape
from sim.cosim.run import CosimResult, cosim
from sim.cosim.run_folder import Sequence, Traffic
from tests.support.models import SMALL_ADDITION, tape_of, trained
from tests.support.sim.shapes import (
    ADDITION,
    COMBINATIONS,
    FAST_SHAPES,
    ODD,
    ROWS,
    SLOW_SHAPES,
    Shape,
    random_tokens,
)

TOKENS = 200


def check_bit_exact(shape: Shape, tape: Tape, traffic: Traffic | None = None) -> dict[str, int]:
    """200 tokens of ``tape`` without a difference; returns the counters."""
    result = cosim(
        [tape], shape.design(), random_tokens(shape.config, TOKENS, seed=2), traffic=traffic
    )
    assert result.bit_exact, result.divergence
    assert result.tokens == TOKENS
    words = shape.config.head_size + shape.config.num_state_words
    assert result.compared == result.due == TOKENS * words
    if traffic is None:
        check_cycles(result, shape.config, shape.design())
    return result.counters


def check_cycles(result: CosimResult, config: ModelConfig, design: Design) -> None:
    """The cost model knows every cycle of a token that nothing disturbs, and its cause."""
    segments = segment_cycles(config, design)
    for name in ("cycles", "beats", "wait_room", "wait_drain", "wait_vector", "wait_control"):
        assert result.counters[name] == result.tokens * sum(getattr(s, name) for s in segments), (
            name
        )
    assert result.counters["wait_weights"] == 0


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("shape", FAST_SHAPES, ids=lambda shape: shape.name)
def test_random_tapes_are_bit_exact(shape: Shape, wild: bool) -> None:
    check_bit_exact(shape, shape.tape(1, wild=wild))


def test_a_one_word_vector_is_read_back() -> None:
    """A vector of one word is written and read in neighbouring cycles.

    GLU has 20 row blocks of a tile each: more than may wait for the scale.
    """
    shape = next(shape for shape in SLOW_SHAPES if shape.name == "one tile")
    result = cosim(
        [shape.tape(1, wild=False)], shape.design(), random_tokens(shape.config, 10, seed=2)
    )
    assert result.bit_exact, result.divergence
    assert result.counters["wait_room"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("shape", SLOW_SHAPES, ids=lambda shape: shape.name)
def test_random_tapes_of_more_shapes_are_bit_exact(shape: Shape, wild: bool) -> None:
    check_bit_exact(shape, shape.tape(1, wild=wild))


@pytest.mark.parametrize("gate", GATES)
def test_trained_tapes_are_bit_exact(gate: str, tmp_path: Path) -> None:
    tape = tape_of(trained(SMALL_ADDITION, tmp_path, gate))
    result = cosim([tape], design_for(tape, 16), random_tokens(tape.config, TOKENS, seed=5))
    assert result.bit_exact, result.divergence
    assert result.compared == TOKENS * (10 + tape.config.num_state_words)


def test_every_saturation_is_reached_on_the_chip() -> None:
    """On the odd shape, whose gate is the sigmoid: only there the gate's index can saturate."""
    reached = dict.fromkeys(SATURATION_SITES, 0)
    for seed in range(3):
        counters = check_bit_exact(ODD, ODD.tape(seed, wild=True))
        for site in SATURATION_SITES:
            reached[site] += counters[f"saturated_{site}"]
    assert all(reached.values()), reached


def test_idle_back_pressure_and_slow_weights_change_nothing_but_time() -> None:
    tape = ODD.tape(3, wild=False)
    traffic = Traffic(idle=0.5, back_pressure=0.5, pause=0.4)
    counters = check_bit_exact(ODD, tape, traffic)
    assert counters["wait_weights"] > 0


def test_addition_design_keeps_its_lanes_busy() -> None:
    """At least 70 % of lanes x cycles are ternary weights of the tape."""
    tape = ADDITION.tape(1, wild=False)
    result = cosim([tape], ADDITION.design(), [Sequence(prompt=[0, 1])])
    assert result.lane_utilization >= 0.70
    assert result.weights_per_token == tape.num_ternary_weights


def test_chip_feeds_its_own_choice_back() -> None:
    tape = ODD.tape(5, wild=False)
    result = cosim([tape], ODD.design(), [Sequence(prompt=[3, 1], generate=6)])
    golden, state = Golden(tape), Golden(tape).state()
    rows: list[int] = []
    for position in range(7):
        token = [3, 1][position] if position < 2 else rows[-1]
        logits, state = golden.step(np.array([token]), state)
        rows.append(int(golden.next_token(logits)[0]))
    assert result.rows == [rows]
    assert result.bit_exact


@pytest.mark.parametrize("shape", FAST_SHAPES, ids=lambda shape: shape.name)
def test_sampled_text_is_bit_exact(shape: Shape) -> None:
    """Three seeds and temperatures; the head's rows fill their last group or not."""
    tape = shape.tape(6, wild=False)
    sequences = [
        Sequence(prompt=[1, 2], generate=30, temperature=temperature, seed=seed)
        for temperature, seed in ((64, 1), (1, 2), (255, 2**64 - 1))
    ]
    result = cosim([tape], shape.design(), sequences)
    assert result.bit_exact, result.divergence
    assert result.tokens == 3 * 31
    assert result.rows[0][1:] != result.rows[2][1:]


def test_a_stop_token_ends_the_text() -> None:
    tape = ODD.tape(5, wild=False)
    everything = cosim([tape], ODD.design(), [Sequence(prompt=[3], generate=40, temperature=64)])
    rows = everything.rows[0]
    stop = next(row for row in rows[3:] if row not in rows[:3])
    stopped = cosim(
        [tape],
        ODD.design(),
        [Sequence(prompt=[3], generate=40, temperature=64, stop=stop), Sequence(prompt=[1])],
    )
    assert stopped.bit_exact, stopped.divergence
    assert stopped.rows[0] == rows[: rows.index(stop) + 1]


@pytest.mark.slow
@pytest.mark.parametrize("code", ["1.67", "1.6"])
def test_every_weight_code_is_bit_exact(code: str) -> None:
    tape = ODD.tape(1, wild=True)
    design = design_for(tape, ODD.lanes, code)
    result = cosim([tape], design, random_tokens(ODD.config, 60, seed=2))
    assert result.bit_exact, result.divergence


@pytest.mark.slow
@pytest.mark.parametrize(("gate", "code", "temperature", "lanes"), COMBINATIONS)
def test_the_product_of_gates_codes_sampling_and_sizes(
    gate: str, code: str, temperature: int, lanes: int
) -> None:
    """A prompt and 40 generated tokens, tame and wild."""
    config = replace(ODD.config, gate=gate, hidden_size=24, intermediate_size=41, num_layers=2)
    shape = replace(ODD, config=config, lanes=lanes)
    tapes = [shape.tape(seed, wild=bool(seed)) for seed in (0, 1)]
    design = design_for(tapes[0], lanes, code)
    sequences = [
        Sequence(prompt=[1, 2, 3], generate=40, temperature=temperature, seed=lanes, model=model)
        for model in (0, 1)
    ]
    result = cosim(tapes, design, sequences)
    assert result.bit_exact, result.divergence
    assert result.tokens == 2 * 42
    check_cycles(result, config, design)


@pytest.mark.slow
@pytest.mark.parametrize(("gate", "code", "array"), ROWS)
def test_rows_need_not_be_a_power_of_two(gate: str, code: str, array: tuple[int, int, int]) -> None:
    config = replace(ODD.config, gate=gate, hidden_size=33, intermediate_size=47, num_layers=2)
    shape = replace(ODD, config=config)
    tapes = [shape.tape(seed, wild=bool(seed)) for seed in (0, 1)]
    design = design_of_array(config, *array, code)
    sequences = [Sequence(prompt=[1, 2, 3], generate=3, temperature=64, model=m) for m in (0, 1)]
    result = cosim(tapes, design, sequences)
    assert result.bit_exact, result.divergence
    assert result.tokens == 2 * 5
    check_cycles(result, config, design)


@pytest.mark.slow
def test_a_post_processing_that_is_too_narrow_makes_the_array_wait() -> None:
    """Row blocks come faster than they leave: the queue fills, as the cost model predicts."""
    config = replace(ODD.config, hidden_size=24, intermediate_size=128)
    shape = replace(ODD, config=config, lanes=64)
    tape = shape.tape(1, wild=False)
    words = 4 * shape.design().state_words
    design = replace(shape.design(), post_width=1, bias_words=words, state_words=words)
    result = cosim([tape], design, [Sequence(prompt=[1, 2, 3, 4])])
    assert result.bit_exact, result.divergence
    check_cycles(result, config, design)
    assert result.counters["wait_room"] > 0


def test_three_models_are_loaded_one_after_another() -> None:
    """Of other sizes and gates, into one chip whose memories were empty; then the first again."""
    small = replace(ODD, lanes=ADDITION.lanes)
    tapes = [ADDITION.tape(1, wild=False), small.tape(2, wild=True), ADDITION.tape(3, wild=True)]
    sequences = [
        Sequence(prompt=[1, 2, 3], generate=4, temperature=64, model=model)
        for model in (0, 1, 2, 0)
    ]
    result = cosim(tapes, ADDITION.design(), sequences, loaded=True)
    assert result.bit_exact, result.divergence
    assert result.rows[0] == result.rows[3]


def test_a_withheld_token_names_segment_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit of the image is wrong: there is no token, and the place is named."""

    def faulty(tape: Tape, design: Design) -> Image:
        image = layout(tape, design)
        image.words["weights"][-2] ^= 1 << 5
        return image

    monkeypatch.setattr(sim.cosim.chip, "layout", faulty)
    result = cosim([ODD.tape(1, wild=False)], ODD.design(), [Sequence(prompt=[1, 2, 3])])
    assert not result.bit_exact
    assert result.rows == [[]]
    assert result.divergence == {
        "sequence": 0,
        "position": 0,
        "token": 1,
        "begin": True,
        "segment": "head",
        "fault": "weights",
    }


def test_profile_accounts_for_every_cycle() -> None:
    tape = ODD.tape(1, wild=False)
    result = cosim([tape], ODD.design(), [Sequence(prompt=[0, 1, 2])], profile=True)
    assert result.profile is not None
    assert list(result.profile) == ["embedding", *(s.name for s in tape.segments)]
    for name in ("cycles", "beats", "wait_vector", "wait_control"):
        total = sum(segment[name] for segment in result.profile.values())
        assert total == result.counters[name], name
    # Each segment by itself, of three tokens; counters lag the number of the segment by a cycle.
    segments = segment_cycles(tape.config, ODD.design())
    for segment in segments:
        counted = result.profile[segment.name]
        lag = (segment is segments[-1]) - (segment is segments[0])
        for name in ("cycles", "wait_vector"):
            assert counted[name] == 3 * (getattr(segment, name) + lag), (segment.name, name)
        for name in ("beats", "wait_room", "wait_drain", "wait_control"):
            assert counted[name] == 3 * getattr(segment, name), (segment.name, name)


def test_one_design_plays_another_tape_of_its_limits() -> None:
    """A smaller model on the addition design, both gates."""
    small = replace(ODD, lanes=ADDITION.lanes)
    result = cosim(
        [small.tape(7, wild=False)], ADDITION.design(), random_tokens(small.config, 60, seed=4)
    )
    assert result.bit_exact, result.divergence


def faulty_layout(change: Callable[[Tape], Tape]) -> Callable[[Tape, Design], Image]:
    """The layout of another tape, with checks that agree: so what differs is seen in the values."""
    return lambda tape, design: layout(change(tape), design)


def flip_weight(tape: Tape) -> Tape:
    """Another weight in o of layer 0, row 0."""
    segments = list(tape.segments)
    (matrix,) = segments[1].matrices
    trits = matrix.trits.copy()
    trits[0, 0] = 1 if trits[0, 0] < 1 else -1
    segments[1] = replace(segments[1], matrices=(matrix.with_trits(trits),))
    return replace(tape, segments=tuple(segments))


def test_first_divergence_is_located(monkeypatch: pytest.MonkeyPatch) -> None:
    tape, design = ODD.tape(1, wild=False), ODD.design()
    monkeypatch.setattr(sim.cosim.chip, "layout", faulty_layout(flip_weight))
    result = cosim([tape], design, random_tokens(ODD.config, 40, seed=1))
    assert not result.bit_exact
    assert result.divergence is not None
    place = {key: result.divergence[key] for key in ("segment", "vector", "index")}
    assert place == {"segment": "layer 0 output", "vector": "x", "index": 0}
    assert result.divergence["expected"] != result.divergence["got"]
    cycle = result.divergence["cycle"]
    assert cycle is not None
    embedding, gates, output, *_ = segment_cycles(tape.config, design)
    assert 0 < cycle - embedding.cycles - gates.cycles < output.cycles


def test_wrong_embedding_is_located(monkeypatch: pytest.MonkeyPatch) -> None:
    tape, design = ODD.tape(1, wild=False), ODD.design()

    def change(tape: Tape) -> Tape:
        embedding = tape.embedding.copy()
        embedding[2, design.columns + 1] ^= 4
        return replace(tape, embedding=embedding)

    monkeypatch.setattr(sim.cosim.chip, "layout", faulty_layout(change))
    result = cosim([tape], design, [Sequence(prompt=[1, 2, 3])])
    assert result.divergence is not None
    assert result.divergence["position"] == 1
    place = {key: result.divergence[key] for key in ("segment", "vector", "index")}
    assert place == {"segment": "embedding", "vector": "x", "index": design.columns + 1}


def test_bad_sequences_are_refused() -> None:
    """All of them: tests/sim/cosim/test_due.py."""
    with pytest.raises(InputError, match="token 7 is not in the vocabulary of 7"):
        cosim([ODD.tape(1, wild=False)], ODD.design(), [Sequence(prompt=[1, 7])])


def test_design_for_another_width_is_refused() -> None:
    design = design_for(ODD.tape(0, wild=False), ODD.lanes)
    with pytest.raises(InputError, match="the tape needs max_width of 128, but the design has 37"):
        cosim([ADDITION.tape(0, wild=False)], design, [Sequence(prompt=[1])])
