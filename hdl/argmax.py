"""Next token: the row of the largest key."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

KEY_BITS = 17
"""Signed width of logit + noise."""


class Argmax(wiring.Component):
    """Row of the largest of the keys (logit + noise) seen since ``clear``; the lowest row wins a tie (docs/arithmetic.md, 14).

    Ports: ``valid``, ``keys`` (P values), ``keep`` (P flags), ``group`` (rows group * P and up; groups come in rising order), ``clear``;
    ``row``, LATENCY = 2 cycles after the last keys. One group per cycle; never stalls.
    """

    LATENCY = 2

    def __init__(self, width: int, group_bits: int) -> None:
        self._width = width
        lane_bits = (width - 1).bit_length()
        super().__init__(
            {
                "clear": In(1),
                "valid": In(1),
                "keys": In(data.ArrayLayout(signed(KEY_BITS), width)),
                "keep": In(width),
                "group": In(group_bits),
                "row": Out(group_bits + lane_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        nodes: list[tuple[Value, Value, Value]] = [
            (self.keys[p], self.keep[p], Const(0, 0)) for p in range(self._width)
        ]
        while len(nodes) > 1:
            nodes = [_larger(a, b) for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        key, keep, lane = nodes[0]
        # Cycle 0: best of the group.
        group_key = Signal(signed(KEY_BITS), reset_less=True)
        group_row = Signal(len(self.row), reset_less=True)
        group_valid = Signal()
        m.d.sync += [
            group_key.eq(key),
            group_row.eq(Cat(lane, self.group)),
            group_valid.eq(self.valid & keep),
        ]
        # Cycle 1: best so far.
        best = Signal(signed(KEY_BITS), reset_less=True)
        found = Signal()
        with m.If(group_valid & (~found | (group_key > best))):
            m.d.sync += [best.eq(group_key), self.row.eq(group_row), found.eq(1)]
        with m.If(self.clear):
            m.d.sync += found.eq(0)
        return m


def _larger(
    low: tuple[Value, Value, Value], high: tuple[Value, Value, Value]
) -> tuple[Value, Value, Value]:
    """Of two (key, keep, lane), the larger; ``low`` wins a tie. The winner's side is the new top bit of lane."""
    take_high = high[1] & (~low[1] | (high[0] > low[0]))
    key = Mux(take_high, high[0], low[0]).as_signed()
    return key, low[1] | high[1], Cat(Mux(take_high, high[2], low[2]), take_high)
