"""Chips for published checkpoints against the golden model: whole models, zero tolerance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sim.cosim.chip
from hdl.fabric.technology import Technology
from hdl.planning.cycles import segment_cycles
from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.image import Image
from mmfree.chip.layout import layout
from mmfree.chip.sizing import design_for_memory
from mmfree.contract.shape import AbsmaxConfig
from mmfree.published.export import export_published
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.reading import AnyTape
from sim.cosim.run import CosimResult, cosim
from sim.cosim.run_folder import Sequence, Traffic
from sim.memory.model import Behaviour
from tests.support.published_checkpoints import (
    Shape,
    language_model_tensors,
    write_checkpoint,
)
from tests.support.sim.shapes import (
    ABSMAX_ODD,
    ABSMAX_SLOW_SHAPES,
    AbsmaxShape,
    random_tokens,
)

SITES = {"projection", "residual", "logit"}
"""All that can saturate in absmax."""

STEADY = Behaviour(latency=(60, 60), address_withheld=0)
"""What the cost model counts with."""


def play(
    tape: AbsmaxTape, design: Design, tokens: int, behaviour: Behaviour | None = None
) -> CosimResult:
    """Random tokens in three sequences, and a text that the chip draws; all of it bit-exact."""
    asked = [
        *random_tokens(tape.config, tokens, seed=2),
        Sequence(prompt=[1, 2], generate=4, temperature=64, seed=3),
    ]
    result = cosim([tape], design, asked, behaviour=behaviour)
    assert result.bit_exact, result.divergence or result.verdict.describe()
    assert result.tokens == tokens + 5
    words = tape.config.head_size + tape.config.num_state_words
    assert result.compared == result.due == result.tokens * words
    return result


def check_cycles(result: CosimResult, config: AbsmaxConfig, design: Design) -> None:
    """The cost model knows every cycle of a token that nothing disturbs, and its cause."""
    segments = segment_cycles(config, design, memory_latency=60)
    for name in ("cycles", "beats", "wait_room", "wait_drain", "wait_vector", "wait_control"):
        expected = result.tokens * sum(getattr(segment, name) for segment in segments)
        assert result.counters[name] == expected, name
    assert result.counters["wait_weights"] == 0


def saturated(result: CosimResult) -> set[str]:
    """Sites at which values were clamped."""
    prefix = "saturated_"
    counted = {n for n, count in result.counters.items() if n.startswith(prefix) and count}
    return {name.removeprefix(prefix) for name in counted}


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_random_tapes_are_bit_exact(wild: bool, tmp_path: Path) -> None:
    """Wild values reach every site that can saturate."""
    design = ABSMAX_ODD.design()
    result = play(ABSMAX_ODD.tape(tmp_path, 1, wild=wild), design, 40)
    check_cycles(result, ABSMAX_ODD.config, design)
    assert saturated(result) == (SITES if wild else set())


@pytest.mark.slow
@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("shape", ABSMAX_SLOW_SHAPES, ids=lambda shape: shape.name)
def test_random_tapes_of_more_shapes_are_bit_exact(
    shape: AbsmaxShape, wild: bool, tmp_path: Path
) -> None:
    for seed in range(3):
        result = play(shape.tape(tmp_path, seed, wild=wild), shape.design(), 60)
        check_cycles(result, shape.config, shape.design())


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_gains_bounds_and_scales_come_from_an_external_memory(wild: bool, tmp_path: Path) -> None:
    external = find_memory("axi64")
    assert external is not None
    tape = ABSMAX_ODD.tape(tmp_path, 2, wild=wild)
    design = design_for_memory(tape.config, external)
    assert not design.stores_logits
    if wild:
        play(tape, design, 30, Behaviour(withheld=25, latency=(2, 300)))
    else:
        check_cycles(play(tape, design, 30, STEADY), tape.config, design)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["axi128x2", "axi64x4", "axi256", "axi512"])
def test_ports_of_every_width(memory: str, tmp_path: Path) -> None:
    external = find_memory(memory)
    assert external is not None
    config = AbsmaxConfig(vocab_size=11, hidden_size=37, intermediate_size=53, num_layers=2)
    design = design_for_memory(config, external)
    shape = replace(ABSMAX_ODD, config=config)
    for seed, withheld in enumerate((0, 10, 25)):
        tape = shape.tape(tmp_path, seed, wild=seed > 0)
        play(tape, design, 20, Behaviour(withheld=withheld, latency=(2, 400), seed=seed))
    check_cycles(play(tape, design, 20, STEADY), config, design)


@pytest.mark.slow
def test_a_checkpoint_with_the_outliers_of_language_models(tmp_path: Path) -> None:
    """A folder as it is released, exported, and played on the chip from memory."""
    shape = Shape(vocab_size=96, hidden_size=64, intermediate_size=176, num_layers=3)
    tensors = language_model_tensors(shape, 1)
    write_checkpoint(tmp_path, shape, tensors, intermediate_size=shape.intermediate_size)
    export_published(tmp_path, tmp_path / "a.tape")
    tape, external = AbsmaxTape(tmp_path / "a.tape"), find_memory("axi64x2")
    assert external is not None
    result = play(tape, design_for_memory(tape.config, external), 60, STEADY)
    assert saturated(result) == set()


def test_models_are_loaded_one_after_another(tmp_path: Path) -> None:
    """The chip is empty at first; what the one left is nothing to the other."""
    tapes = [ABSMAX_ODD.tape(tmp_path, 1), ABSMAX_ODD.tape(tmp_path, 2, wild=True)]
    asked = [Sequence(prompt=[1, 2, 3], model=model) for model in (0, 1, 0)]
    result = cosim(tapes, ABSMAX_ODD.design(), asked, loaded=True)
    assert result.bit_exact, result.divergence
    assert result.rows[0] == result.rows[2]


def test_disturbances_change_nothing_but_time(tmp_path: Path) -> None:
    traffic = Traffic(idle=0.5, back_pressure=0.5, pause=0.4)
    asked = random_tokens(ABSMAX_ODD.config, 20, seed=4)
    tape = ABSMAX_ODD.tape(tmp_path, 3)
    result = cosim([tape], ABSMAX_ODD.design(), asked, traffic=traffic)
    assert result.bit_exact, result.divergence
    assert result.counters["wait_weights"] > 0


def test_a_wrong_word_of_gains_is_located(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sums of the chip's writes: a chip whose lower bounds are not those of the tape."""
    tapes = [ABSMAX_ODD.tape(tmp_path, seed) for seed in (1, 2)]

    def faulty(tape: AnyTape, design: Design) -> Image:
        assert tape.sha256 == tapes[0].sha256
        return layout(tapes[1], design)

    monkeypatch.setattr(sim.cosim.chip, "layout", faulty)
    result = cosim(tapes[:1], ABSMAX_ODD.design(), [Sequence(prompt=[1, 2])])
    assert not result.bit_exact
    assert result.divergence is not None
    assert (result.divergence["segment"], result.divergence["vector"]) == ("embedding", "x")


@pytest.mark.slow
def test_the_cells_of_the_ecp5_are_bit_exact(tmp_path: Path) -> None:
    tape = ABSMAX_ODD.tape(tmp_path, 1, wild=True)
    asked = random_tokens(tape.config, 20, seed=4)
    result = cosim([tape], ABSMAX_ODD.design(), asked, technology=Technology.ECP5)
    assert result.bit_exact, result.divergence


@pytest.mark.slow
def test_another_simulator_agrees(tmp_path: Path) -> None:
    tape = ABSMAX_ODD.tape(tmp_path, 1, wild=True)
    asked = [Sequence(prompt=[1, 2])]
    result = cosim([tape], ABSMAX_ODD.design(), asked, simulator="icarus")
    assert result.bit_exact, result.divergence
