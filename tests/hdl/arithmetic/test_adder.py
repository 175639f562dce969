"""The adder with a carry input: sums and differences, exhaustively at small widths."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.adder import add_with_carry, negate_if
from tests.support.hdl.bench import simulate


class AddOrSubtract(wiring.Component):
    """o = a + b, or a - b."""

    def __init__(self) -> None:
        super().__init__(
            {"a": In(signed(4)), "b": In(signed(3)), "negative": In(1), "o": Out(signed(6))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(
            add_with_carry(self.a, negate_if(self.negative, self.b), self.negative)
        )
        m.d.sync += Signal().eq(0)
        return m


def test_sums_and_differences_are_exact() -> None:
    block = AddOrSubtract()

    async def bench(ctx: Any) -> None:
        for a in range(-8, 8):
            for b in range(-4, 4):
                for negative in (0, 1):
                    ctx.set(block.a, a)
                    ctx.set(block.b, b)
                    ctx.set(block.negative, negative)
                    assert ctx.get(block.o) == (a - b if negative else a + b)

    simulate(block, bench)
