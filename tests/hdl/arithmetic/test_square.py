"""The square of an int8: every value."""

from __future__ import annotations

import random

import pytest
from amaranth.back import rtlil

from hdl.arithmetic.square import Square
from hdl.toolchain.audit import forbidden_cells
from tests.support.hdl.bench import Item, play, with_idle
from tests.support.hdl.values import IDLE


@pytest.mark.parametrize("idle", IDLE)
def test_every_square_is_exact(idle: float) -> None:
    block, values = Square(), list(range(-128, 128))
    random.Random(1).shuffle(values)
    items: list[Item] = [{"a": value} for value in values]
    results = play(block, with_idle(items, idle), block.latency, ["o"])
    assert [result["o"] for result in results] == [value * value for value in values]


def test_it_is_made_of_four_additions() -> None:
    """One for the absolute value, three for the rows of partial products."""
    text = rtlil.convert(Square(), name="square", emit_src=False)
    assert not forbidden_cells(text)
    assert text.count("cell $add ") == 4
