"""Chips with an external memory against the golden model: whole models, zero tolerance."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import sim.cosim.job
import sim.cosim.run
from hdl.planning.cycles import segment_cycles
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.sizing import design_for_memory, stream_words
from mmfree.contract.pow2 import GATES
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape
from sim.cosim.run import CosimResult, cosim
from sim.cosim.run_folder import Sequence
from sim.memory.model import Behaviour
from tests.support.random_tapes import random_tape
from tests.support.sim.shapes import ODD, random_tokens

STEADY = Behaviour(latency=(60, 60), address_withheld=0)
"""What the cost model counts with."""


def design_of(config: ModelConfig, memory: str) -> Design:
    external = find_memory(memory)
    assert external is not None
    return design_for_memory(config, external)


def tape_of(config: ModelConfig, gate: str, *, wild: bool = False, seed: int = 1) -> Tape:
    values = replace(config, gate=gate).to_dict()
    return random_tape(np.random.default_rng(seed), wild=wild, **values)


DESIGN = design_of(ODD.config, "axi64")
TAPES = [tape_of(ODD.config, gate) for gate in GATES]
ASKED = [Sequence(prompt=[1, 2, 3, 4]), Sequence(prompt=[5], generate=5, temperature=64, seed=3)]


def check(result: CosimResult) -> CosimResult:
    assert result.bit_exact, result.divergence or result.verdict.describe()
    return result


@pytest.mark.parametrize(
    ("gate", "withheld", "wild"),
    [("sigmoid", 0, False), ("hard", 10, True), ("signed", 25, True)],
)
def test_tokens_from_an_external_memory_are_bit_exact(
    gate: str, withheld: float, wild: bool
) -> None:
    """With random latencies, and memories and registers that hold anything at first."""
    tape = tape_of(ODD.config, gate, wild=wild)
    asked = [*ASKED, *random_tokens(ODD.config, 30, seed=4)]
    result = check(cosim([tape], DESIGN, asked, behaviour=Behaviour(withheld=withheld)))
    assert result.tokens == 39
    assert result.compared == result.due == 39 * 25
    assert result.memory == "axi64"


@pytest.mark.parametrize("latency", [2, 60, 200])
def test_the_cost_model_knows_every_cycle(latency: int) -> None:
    """If the memory always has the next word, and a row takes as long as was asked for."""
    behaviour = replace(STEADY, latency=(latency, latency))
    result = check(cosim([TAPES[0]], DESIGN, ASKED, behaviour=behaviour, profile=True))
    segments = segment_cycles(ODD.config, DESIGN, memory_latency=latency)
    for name in ("cycles", "beats", "wait_room", "wait_drain", "wait_vector", "wait_control"):
        expected = result.tokens * sum(getattr(segment, name) for segment in segments)
        assert result.counters[name] == expected, name
    assert result.counters["wait_weights"] == 0
    assert result.profile is not None
    assert list(result.profile) == [segment.name for segment in segments]


def test_bandwidth_is_worked_by_hand() -> None:
    """Words of the passes, of those that the memory could give in their cycles."""
    words = stream_words(ODD.config, DESIGN)
    open_memory = check(cosim([TAPES[0]], DESIGN, ASKED, behaviour=STEADY))
    assert open_memory.bandwidth_utilization == words / open_memory.cycles_per_token
    throttled = check(cosim([TAPES[0]], DESIGN, ASKED, behaviour=replace(STEADY, withheld=50)))
    share = words / throttled.cycles_per_token
    assert throttled.bandwidth_utilization == pytest.approx(2 * share, rel=0.1)


def test_a_slow_memory_takes_its_time() -> None:
    """A word of eight: the chip waits for weights, takes each as it comes, and is exact."""
    behaviour = Behaviour(withheld=87.5, latency=(200, 300), address_withheld=80)
    asked = [Sequence(prompt=[1, 2, 3, 4] * 15)]
    result = check(cosim([TAPES[1]], DESIGN, asked, behaviour=behaviour))
    assert result.counters["wait_weights"] > 0.2 * result.counters["cycles"]
    # The ring held four of the 60 passes before the first.
    assert result.bandwidth_utilization == pytest.approx(1.06, abs=0.05)


def test_memories_and_registers_may_hold_anything_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that nothing initialises: rings, vectors, state."""
    run = sim.cosim.job.run
    for seed in (1, 2):
        monkeypatch.setattr(sim.cosim.job, "run", partial(run, random_memories=seed))
        check(cosim([TAPES[0]], DESIGN, ASKED))


def test_models_lie_one_after_another_in_the_memory() -> None:
    """Each is loaded and placed when a sequence asks for it; the chip is empty at first."""
    asked = [
        Sequence(prompt=[1, 2, 3], generate=3, temperature=64, model=model)
        for model in (0, 1, 2, 0)
    ]
    result = check(cosim(TAPES, DESIGN, asked, loaded=True))
    assert result.rows[0] == result.rows[3]
    check(cosim(TAPES, DESIGN, asked))


def test_shares_of_a_run_are_joined_to_the_whole() -> None:
    """The same verdict, values and counters; a sequence is cut where a share begins."""
    asked = [*ASKED, Sequence(prompt=[3, 1], generate=6), Sequence(prompt=[2, 6, 0])]
    runs = [check(cosim([TAPES[2]], DESIGN, asked, processes=n, behaviour=STEADY)) for n in (1, 3)]
    one = runs[0]
    for result in runs[1:]:
        assert result.verdict == one.verdict
        assert result.rows == one.rows
        assert np.array_equal(result.logits, one.logits)
        assert np.array_equal(result.states, one.states)
        assert result.counters == one.counters
        assert result.bandwidth_utilization == one.bandwidth_utilization


def test_what_is_recorded_is_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tokens of a chip with block RAM, by both ways."""
    tape, design = ODD.tape(2, wild=True), ODD.design()
    read = check(cosim([tape], design, ASKED))
    monkeypatch.setattr(sim.cosim.run, "READ_VALUES", 24)
    recorded = check(cosim([tape], design, ASKED))
    for name in ("verdict", "rows", "counters", "cycles_per_token"):
        assert getattr(recorded, name) == getattr(read, name)
    assert np.array_equal(recorded.logits, read.logits)
    assert np.array_equal(recorded.states, read.states)
    # Icarus has no recorder: what is large is read there as well.
    monkeypatch.setattr(sim.cosim.job, "write_bench", None)
    check(cosim([tape], design, [Sequence(prompt=[1])], simulator="icarus"))


def test_icarus_has_no_model_of_a_memory() -> None:
    with pytest.raises(InputError, match="icarus cannot simulate the external memory axi64"):
        cosim([TAPES[0]], DESIGN, ASKED, simulator="icarus")


MEMORIES = {
    "axi128x2": (37, 53, 2, "sigmoid"),
    "axi64x4": (50, 70, 2, "hard"),
    "axi256": (33, 70, 3, "signed"),
    "axi512": (20, 37, 1, "hard"),
}
"""Memory -> hidden and intermediate size, layers, gate."""


@pytest.mark.slow
@pytest.mark.parametrize("memory", MEMORIES)
def test_ports_of_every_width(memory: str) -> None:
    """Tame and wild tapes, 0, 10 and 25 % withheld; every cycle as the cost model says."""
    d, intermediate, layers, gate = MEMORIES[memory]
    config = ModelConfig(
        vocab_size=11,
        head_size=9,
        hidden_size=d,
        intermediate_size=intermediate,
        num_layers=layers,
        gate=gate,
    )
    design = design_of(config, memory)
    asked = [*ASKED, *random_tokens(config, 20, seed=4)]
    behaviours: list[dict[str, Any]] = [
        {"withheld": 0},
        {"withheld": 10, "latency": (2, 500)},
        {"withheld": 25, "latency": (60, 200)},
    ]
    for number, behaviour in enumerate(behaviours):
        tape = tape_of(config, gate, wild=number > 0, seed=number)
        check(cosim([tape], design, asked, behaviour=Behaviour(**behaviour, seed=number)))
    result = check(cosim([tape], design, asked, behaviour=STEADY))
    segments = segment_cycles(config, design, memory_latency=60)
    assert result.cycles_per_token == sum(segment.cycles for segment in segments)


@pytest.mark.slow
def test_clocks_that_know_nothing_of_each_other() -> None:
    """The memory's is faster or slower; a period that never repeats beside the chip's."""
    for period in (3.1, 9.7, 10.3, 33.7):
        behaviour = Behaviour(bus_ns=period, withheld=10, latency=(5, 90))
        check(cosim([TAPES[0]], DESIGN, ASKED, behaviour=behaviour))
