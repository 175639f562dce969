"""Row scale: elements of an embedding's row times the row's scale, in the residual's format."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.requantize import shifted_by
from hdl.arithmetic.product import Product, product_latency
from mmfree.chip.design import Design
from mmfree.chip.header import EXPONENT_BITS

SCALE_BITS = 16
MOST_LEFT, MOST_RIGHT = 7, 22
"""Most bits that a product is shifted up and down."""

_SHIFTED = product_latency(signed(8))
LATENCY = _SHIFTED + 3


class RowScale(wiring.Component):
    """x = rnd(element * scale, shift) for P lanes (docs/arithmetic_absmax.md, 11).

    Ports::

        elements  in   P x signed(8)   of a row
        scale     in   16              of the row, unsigned; with elements
        shift     in   signed(10)      -7..22, stable from a cycle before the elements
        o         out  P x signed(32)  the values, LATENCY = 6 cycles after elements

    New elements every cycle; never stalls; no reset.
    """

    def __init__(self, design: Design) -> None:
        width = design.post_width
        super().__init__(
            {
                "elements": In(data.ArrayLayout(signed(8), width)),
                "scale": In(SCALE_BITS),
                "shift": In(signed(EXPONENT_BITS)),
                "o": Out(data.ArrayLayout(signed(design.value_bits), width)),
            }
        )
        self.products = [Product(SCALE_BITS, signed(8)) for _ in range(width)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Shifted up as far as it can be, and by one bit more, to round; then only down.
        drop = Signal(range(MOST_LEFT + MOST_RIGHT + 1), reset_less=True)
        m.d.sync += drop.eq(self.shift + MOST_LEFT)
        for p, product in enumerate(self.products):
            # Cycles 0 to _SHIFTED - 1: the product.
            m.submodules[f"product_{p}"] = product
            m.d.comb += [product.a.eq(self.scale), product.b.eq(self.elements[p])]
            # Cycle _SHIFTED: down by 8s. The next: by less.
            value = Cat(Const(0, MOST_LEFT + 1), product.o[: SCALE_BITS + 8]).as_signed()
            coarse = Signal.like(value, reset_less=True, name=f"coarse_{p}")
            fine = Signal.like(value, reset_less=True, name=f"fine_{p}")
            m.d.sync += [
                coarse.eq(shifted_by(value, drop, (4, 3))),
                fine.eq(shifted_by(coarse, drop, (2, 1, 0))),
                # Cycle LATENCY - 1: rounded.
                self.o[p].eq((fine + 1) >> 1),
            ]
        return m
