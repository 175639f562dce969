"""The ternary array: R rows of C lanes, in each row chains of adders, a tree, an accumulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.adder import negate_if
from hdl.arithmetic.gated_adder import gated_sum
from hdl.array.lane_pairs import row_sum
from hdl.fabric.pipeline import delay
from hdl.fabric.technology import Technology, technology_of
from hdl.interface import BlockSums, Tiles
from mmfree.chip.design import Design

CHAIN = 4
"""Lanes of a chain; each costs a cycle of latency.

Measured LUT4-equivalents per lane (C = 32, ECP5): 15.4 with chains of two, 13.9 with four, 13.2
with eight.
"""


def array_latency(columns: int) -> int:
    """Cycles from a tile to the first group's sums.

    One per lane of a chain, per level of the tree, and the accumulator's.
    """
    chain = min(CHAIN, columns)
    return chain + (columns // chain - 1).bit_length() + 1


def array_ports(design: Design) -> dict[str, Any]:
    """Ports of an array, whatever its lanes compute; ``TernaryArray`` documents them."""
    weights = unsigned(design.lane_bits * design.group_rows * design.columns)
    return {
        "tiles": In(Tiles(design)),
        "w": In(data.ArrayLayout(weights, design.num_groups)),
        "sums": Out(BlockSums(design)),
    }


ArrayOf = Callable[[Design], wiring.Component]
"""Makes the array of a design; its ports are those of ``array_ports``."""


class TernaryArray(wiring.Component):
    """acc[r] = sum over the tiles of a block, and over c, of w[r, c] * x[c].

    ::

        x0 w0 -> [+-] -> [+ x1 w1] -> [+ x2 w2] -> [+ x3 w3] --+--> tree of chains --> accumulator
                  |          |            |            |
        cycle     0          1            2            3

    A lane passes x, its complement, or zero. The +1 that completes a negation enters as the carry
    of an adder: chains, tree and accumulator of a row have C adders, one for each lane. Lane k of a
    chain works k cycles after the first, and so its activations and weights are delayed by k. On
    the UltraScale+ there are pairs of lanes instead of chains, all in the same cycle, and their sum
    is delayed to the cycle in which chains would give it (hdl/array/lane_pairs.py). Rows are in
    groups: activations and flags pass from each group to the next, one cycle later, so that no
    signal has to reach more than a group's rows (docs/decisions/0010).

    Ports::

        tiles  in   Tiles             activations, with the flags of a row block's tiles
        w      in   G x lane codes    0, 1, 3 for 0, +1, -1, row after row; group g's g cycles later
        sums   out  BlockSums         those of group g in one cycle, latency + g after the last tile

    One tile per cycle; idle cycles between tiles are allowed; never stalls: the caller has room for
    the result before it sends a block's last tile. After reset, no sum is valid.
    """

    def __init__(self, design: Design) -> None:
        assert design.lane_bits == 2, "a lane adds, and takes no other weights than trits"
        self._design = design
        self._chain = min(CHAIN, design.columns)
        super().__init__(array_ports(design))
        self.latency = array_latency(design.columns)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        technology, design = technology_of(platform), self._design
        # Activations and flags of the group at hand; lane k of a chain takes them k cycles later.
        skewed = technology is not Technology.ULTRASCALE_PLUS
        x = [
            delay(m, self.tiles.x[c], c % self._chain if skewed else 0)
            for c in range(design.columns)
        ]
        beat = self.tiles.beat
        flags: list[Value] = [
            delay(m, flag, self.latency - 1, reset=True)
            for flag in (beat.valid, beat.first, beat.last)
        ]
        for group in range(design.num_groups):
            if group:
                x = [delay(m, value, 1) for value in x]
                flags = [delay(m, flag, 1, reset=True) for flag in flags]
            valid, first, last = flags
            for row in range(design.group_rows):
                bits = 2 * design.columns
                codes = self.w[group][bits * row : bits * (row + 1)]
                total, carry = self._row(m, technology, x, codes)
                acc = self.sums.acc[group * design.group_rows + row]
                summed = gated_sum(
                    m,
                    technology,
                    total,
                    acc,
                    bits=design.accumulator_bits,
                    enable=~first,
                    carry=carry,
                )
                with m.If(valid):
                    m.d.sync += acc.eq(summed)
            m.d.sync += self.sums.valid[group].eq(valid & last)
        return m

    def _row(
        self, m: Module, technology: Technology, x: list[Value], codes: Value
    ) -> tuple[Value, Value]:
        """Sum of a row's lanes, less one pending carry: (registered sum, registered carry)."""
        if technology is Technology.ULTRASCALE_PLUS:
            return row_sum(m, x, codes, self.latency - 1)
        nodes = []
        for c in range(0, self._design.columns, self._chain):
            # The first lane: nothing to add to yet.
            nonzero, negative = codes[2 * c], codes[2 * c + 1]
            total = Signal(signed(8), reset_less=True)
            gated = negate_if(negative, x[c]) & nonzero.replicate(8).as_signed()
            m.d.sync += total.eq(gated)
            for k in range(1, self._chain):
                code = delay(m, codes[2 * (c + k) : 2 * (c + k) + 2], k)
                bits = 8 + k.bit_length()
                following = Signal(signed(bits), reset_less=True)
                m.d.sync += following.eq(
                    gated_sum(
                        m, technology, total, x[c + k], bits=bits, enable=code[0], negative=code[1]
                    )
                )
                total = following
            nodes.append((total, delay(m, negative, self._chain)))
        while len(nodes) > 1:
            level = []
            for (left, carry), (right, pending) in zip(nodes[::2], nodes[1::2], strict=True):
                bits = len(left) + 1
                node = Signal(signed(bits), reset_less=True)
                m.d.sync += node.eq(gated_sum(m, technology, left, right, bits=bits, carry=carry))
                level.append((node, delay(m, pending, 1)))
            nodes = level
        return nodes[0]
