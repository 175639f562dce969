"""Chips of random shapes, and one of 512 lanes, against the golden model: compiled, so slow.

tests/hdl/test_chip.py plays smaller ones without a compiler.
"""

from __future__ import annotations

import pytest

from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.contract.shape import ModelConfig
from sim.cosim.run import cosim
from sim.cosim.run_folder import Sequence
from tests.sim.cosim.test_run import check_cycles
from tests.support.sim.shapes import Shape, drawn, random_tokens

SEEDS, SCALE, TOKENS = range(6), 4, 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_drawn_chips_are_bit_exact(seed: int) -> None:
    """A prompt in three parts, and a text that is drawn."""
    tape, design = drawn(seed, SCALE).tape, drawn(seed, SCALE).design
    drawn_text = Sequence(prompt=[0], generate=TOKENS, temperature=100, seed=seed)
    result = cosim([tape], design, [*random_tokens(tape.config, TOKENS, seed), drawn_text])
    assert result.bit_exact, result.divergence
    assert result.tokens == 2 * TOKENS
    check_cycles(result, tape.config, design)


def test_drawn_chips_are_many_sorts() -> None:
    """Rows beyond the model, I below and above d, every code, arrays of hundreds of lanes."""
    chips = [drawn(seed, SCALE) for seed in SEEDS]
    configs = [chip.tape.config for chip in chips]
    assert any(c.design.rows > c.tape.config.hidden_size for c in chips)
    assert any(config.intermediate_size < config.hidden_size for config in configs)
    assert any(config.intermediate_size > config.hidden_size for config in configs)
    assert {chip.design.weight_code for chip in chips} == set(WEIGHT_CODES)
    assert max(chip.design.lanes for chip in chips) >= 256


@pytest.mark.slow
@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_512_lanes_are_bit_exact(wild: bool) -> None:
    config = ModelConfig(
        vocab_size=40,
        head_size=40,
        hidden_size=72,
        intermediate_size=150,
        num_layers=1,
        gate="sigmoid",
    )
    shape = Shape(name="512 lanes", config=config, lanes=512)
    assert shape.design().lanes == 512
    result = cosim([shape.tape(1, wild=wild)], shape.design(), random_tokens(config, TOKENS, 2))
    assert result.bit_exact, result.divergence
    check_cycles(result, config, shape.design())
