"""The choice of the next token: the row with the largest key."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay


def argmax_latency(width: int) -> int:
    """Cycles from a group of keys to the row."""
    return _tree_latency(width) + 2


def _tree_latency(width: int) -> int:
    """Cycles from a group of keys to the best of them: to compare and to choose, for each level."""
    return max(1, 2 * (width - 1).bit_length())


class Argmax(wiring.Component):
    """Row of the largest of the keys (logit + noise) seen since ``clear``.

    The lowest row wins a tie (docs/arithmetic.md, 14). Keys have ``key_bits`` bits.

    Ports::

        clear  in   1                flag: what was seen is forgotten; no keys are on their way
        valid  in   1                flag: there are keys
        keys   in   P x signed(key)  logit + noise of a group of P rows
        keep   in   P                flags: which of the keys count
        group  in   uintN            number of the group, of rows group * P and up; it rises
        row    out  uintN            of the largest key, latency cycles after it

    The latency is max(1, 2 log2 P) + 2. A group per cycle; never stalls. After reset no key has
    been seen, and ``row`` is 0.
    """

    def __init__(self, width: int, group_bits: int, key_bits: int) -> None:
        self._width, self._key_bits = width, key_bits
        self._lane_bits = (width - 1).bit_length()
        self.latency = argmax_latency(width)
        super().__init__(
            {
                "clear": In(1),
                "valid": In(1),
                "keys": In(data.ArrayLayout(signed(key_bits), width)),
                "keep": In(width),
                "group": In(group_bits),
                "row": Out(group_bits + self._lane_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        nodes: list[_Node] = [(self.keys[p], self.keep[p], Const(0, 0)) for p in range(self._width)]
        # Cycle 0 and on: the best of the group, two cycles for each level of a tree.
        while len(nodes) > 1:
            nodes = [_larger(m, a, b) for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        ((key, keep, lane),) = nodes if self._width > 1 else [_later(m, nodes[0])]
        cycles = _tree_latency(self._width)
        valid = delay(m, self.valid, cycles, reset=True) & keep
        row = Cat(lane, delay(m, self.group, cycles))
        # Cycle ``cycles``: the best key so far; its row a cycle later, because comparing and
        # choosing in one cycle limited the clock (docs/log.md).
        best = Signal(signed(self._key_bits), reset_less=True)
        found = Signal()
        larger = Signal()
        m.d.comb += larger.eq(valid & (~found | (key > best)))
        with m.If(larger):
            m.d.sync += [best.eq(key), found.eq(1)]
        with m.If(self.clear):
            m.d.sync += found.eq(0)
        # Cycle ``cycles`` + 1: its row.
        taken, taken_row = delay(m, larger, 1, reset=True), delay(m, row, 1)
        with m.If(taken):
            m.d.sync += self.row.eq(taken_row)
        return m


_Node = tuple[Value, Value, Value]


def _later(m: Module, node: _Node) -> _Node:
    """The node a cycle later."""
    key, keep, lane = (delay(m, value, 1) for value in node)
    return key, keep, lane


def _larger(m: Module, low: _Node, high: _Node) -> _Node:
    """The larger of two (key, keep, lane), two cycles later; ``low`` wins a tie.

    The new top bit of lane tells which one it was.
    """
    # Cycle 0: compare. Cycle 1: choose.
    take_high = delay(m, high[1] & (~low[1] | (high[0] > low[0])), 1)
    low, high = _later(m, low), _later(m, high)
    key = Mux(take_high, high[0], low[0]).as_signed()
    return _later(m, (key, low[1] | high[1], Cat(Mux(take_high, high[2], low[2]), take_high)))
