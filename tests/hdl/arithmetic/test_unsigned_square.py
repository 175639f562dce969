"""Squares of unsigned integers."""

from __future__ import annotations

import random

import pytest
from amaranth.back import rtlil

from hdl.arithmetic.unsigned_square import UnsignedSquare, square_latency
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import forbidden_cells
from tests.support.hdl.bench import play, with_idle
from tests.support.hdl.values import IDLE


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("bits", [2, 3, 7, 18])
def test_the_square_of_every_integer_or_of_many(bits: int, idle: float) -> None:
    rng = random.Random(bits)
    values = [*range(1 << min(bits, 7)), (1 << bits) - 1, *(1 << n for n in range(bits))]
    values += [rng.getrandbits(bits) for _ in range(300)]
    block = UnsignedSquare(bits)
    assert block.latency == square_latency(bits)
    items = with_idle([{"a": value} for value in values], idle)
    seen = play(block, items, block.latency, ["o"])
    assert [item["o"] for item in seen] == [value * value for value in values]


@pytest.mark.parametrize("technology", [Technology.GENERIC, Technology.ECP5])
def test_it_is_made_of_additions(technology: Technology) -> None:
    block = UnsignedSquare(18)
    assert not forbidden_cells(
        rtlil.convert(block, name="square", emit_src=False, platform=technology)
    )
