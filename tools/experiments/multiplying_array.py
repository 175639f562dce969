"""The array that the ternary one is compared with: int8 weights, multiplied.

Only the accelerators of ``tools/experiments/multiplying.py`` have it.
"""

from __future__ import annotations

from enum import Enum

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from hdl.arithmetic.product import Product, product_latency
from hdl.array.ternary_array import array_ports
from hdl.fabric.pipeline import delay
from mmfree.chip.design import Design
from mmfree.chip.weight_codes import INT8

PRODUCT_LATENCY = product_latency(signed(8))
"""Cycles of a product, in LUTs and in DSP blocks alike."""


def multiplying_latency(columns: int) -> int:
    """Cycles from a tile to the first group's sums: products, levels of the tree, accumulator."""
    return PRODUCT_LATENCY + (columns - 1).bit_length() + 1


class Unit(Enum):
    """What makes a product."""

    LUT = "int8 lut"
    """Shift-and-add units in LUTs."""

    DSP = "int8 dsp"
    """The DSP blocks that synthesis infers."""


class MultiplyingArray(wiring.Component):
    """acc[r] = sum over the tiles of a block, and over c, of w[r, c] * x[c], weights int8.

    The same ports and the same rows in groups as ``hdl.array.ternary_array.TernaryArray``, with
    ``w`` of 8 bits per lane; every sum is registered, as there. Products are made by the
    shift-and-add unit of the rest of the chip, whose adders are placed in the part's own carry
    cells, or by what synthesis makes of a multiplication: a DSP block.
    """

    def __init__(self, design: Design, unit: Unit) -> None:
        assert design.weight_code == INT8.name
        self._design, self._unit = design, unit
        super().__init__(array_ports(design))
        self.latency = multiplying_latency(design.columns)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design = self._design
        x: list[Value] = [self.tiles.x[c] for c in range(design.columns)]
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
                low = 8 * design.columns * row
                weights = [
                    self.w[group][low + 8 * c : low + 8 * c + 8].as_signed()
                    for c in range(design.columns)
                ]
                nodes = [self._product(m, a, w) for a, w in zip(x, weights, strict=True)]
                while len(nodes) > 1:
                    nodes = [_sum(m, *nodes[n : n + 2]) for n in range(0, len(nodes), 2)]
                acc = self.sums.acc[group * design.group_rows + row]
                with m.If(valid):
                    m.d.sync += acc.eq(Mux(first, 0, acc) + nodes[0])
            m.d.sync += self.sums.valid[group].eq(valid & last)
        return m

    def _product(self, m: Module, x: Value, w: Value) -> Value:
        """Exact, of 16 bits, PRODUCT_LATENCY cycles later."""
        if self._unit is Unit.LUT:
            product = Product(signed(8), signed(8))
            m.submodules += product
            m.d.comb += [product.a.eq(x), product.b.eq(w)]
            return product.o[:16].as_signed()
        # Registers before, after and between, as a DSP block has them.
        o = Signal(signed(16), reset_less=True)
        m.d.sync += o.eq(delay(m, x, 1) * delay(m, w, 1))
        result: Value = delay(m, o, PRODUCT_LATENCY - 2)
        return result


def _sum(m: Module, a: Value, b: Value) -> Value:
    total = Signal(signed(len(a) + 1), reset_less=True)
    m.d.sync += total.eq(a + b)
    return total
