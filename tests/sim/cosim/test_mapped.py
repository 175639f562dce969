"""The chip in the cells that are placed by hand for the ECP5, whole, against the golden model."""

from __future__ import annotations

import pytest

from hdl.fabric.technology import Technology
from mmfree.chip.sizing import design_for
from sim.cosim.run import cosim
from tests.support.sim.shapes import ADDITION, ODD, SLOW_SHAPES, Shape, random_tokens

TOKENS = 20


def check(shape: Shape, wild: bool, code: str = "2") -> None:
    tape = shape.tape(1, wild=wild)
    result = cosim(
        [tape],
        design_for(tape, shape.lanes, code),
        random_tokens(shape.config, TOKENS, seed=2),
        technology=Technology.ECP5,
    )
    assert result.bit_exact, result.divergence
    assert result.tokens == TOKENS


@pytest.mark.slow
@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
def test_mapped_chip_is_bit_exact(wild: bool) -> None:
    check(ODD, wild)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "code"), [(ADDITION, "1.6"), (SLOW_SHAPES[1], "1.67")], ids=["addition", "many lanes"]
)
def test_larger_mapped_chips_are_bit_exact(shape: Shape, code: str) -> None:
    check(shape, wild=True, code=code)
