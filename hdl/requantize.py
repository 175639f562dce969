"""Requantization: an accumulator times the segment's scale, rounded, shifted and saturated."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.pipeline import delay
from hdl.product import Product
from mmfree.formats import INT8_MAX, INT8_MIN, INT16_MAX, INT16_MIN

SHIFT_BITS = 5
_SCALE_BITS = 9
_ROUND_BITS = 28  # a shift of at most 28 rounds with 2^27


def saturate(value: Value, low: ValueLike, high: ValueLike) -> tuple[Value, Value]:
    """(value clamped to low..high, flag that it was clamped)."""
    above, below = value > high, value < low
    return Mux(above, high, Mux(below, low, value)), above | below


class Requantize(wiring.Component):
    """z = sat(rnd(acc * scale, shift)) for P lanes (docs/arithmetic.md, 7).

    Ports: ``acc`` (P accumulators), ``scale`` (M), ``shift`` (e + k, 1..28), ``wide`` (int16 output instead of int8); ``z`` (P int16) and ``saturated``
    (P flags), ``latency`` cycles later. New operands every cycle; never stalls; no reset.
    """

    def __init__(self, accumulator_bits: int, width: int) -> None:
        self._width = width
        super().__init__(
            {
                "acc": In(data.ArrayLayout(signed(accumulator_bits), width)),
                "scale": In(_SCALE_BITS),
                "shift": In(SHIFT_BITS),
                "wide": In(1),
                "z": Out(data.ArrayLayout(signed(16), width)),
                "saturated": Out(width),
            }
        )
        self.products = [
            Product(signed(accumulator_bits), _SCALE_BITS, addend_bits=_ROUND_BITS)
            for _ in range(width)
        ]
        self._product_latency = self.products[0].latency
        self.latency = self._product_latency + 3

    def elaborate(self, platform: object) -> Module:
        m = Module()
        half = Signal(_ROUND_BITS)
        m.d.comb += half.eq((1 << self.shift) >> 1)
        shift = delay(m, self.shift, self._product_latency)
        shift_fine = delay(m, shift[:2], 1)
        wide = delay(m, self.wide, self._product_latency + 2)
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            m.d.comb += [
                product.a.eq(self.acc[p]),
                product.b.eq(self.scale),
                product.addend.eq(half),
            ]
            # Two stages of shifting: by multiples of 4, then by 0..3.
            coarse = Signal.like(product.o, reset_less=True, name=f"coarse_{p}")
            fine = Signal.like(product.o, reset_less=True, name=f"fine_{p}")
            m.d.sync += [
                coarse.eq(product.o >> (shift[2:] << 2)),
                fine.eq(coarse >> shift_fine),
            ]
            narrow_z, narrow_over = saturate(fine, INT8_MIN, INT8_MAX)
            wide_z, wide_over = saturate(fine, INT16_MIN, INT16_MAX)
            m.d.sync += [
                self.z[p].eq(Mux(wide, wide_z, narrow_z)),
                self.saturated[p].eq(Mux(wide, wide_over, narrow_over)),
            ]
        return m
