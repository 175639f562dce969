"""Requantization: an accumulator times the segment's scale, rounded, shifted and saturated."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import delay
from hdl.payloads import MULTIPLIER_BITS, SHIFT_BITS

Z_BITS = 16
_ROUND_BITS = 28  # a shift of at most 28 rounds with 2^27
_PRODUCT_LATENCY = product_latency(MULTIPLIER_BITS, _ROUND_BITS)
LATENCY = _PRODUCT_LATENCY + 4


def saturate(value: Value, bits: int) -> tuple[Value, Value]:
    """(signed value clamped to ``bits`` bits, flag that it was clamped)."""
    if len(value) <= bits:
        return value.as_signed(), Const(0)
    sign, upper = value[-1], value[bits - 1 : -1]
    over = (upper ^ sign.replicate(len(upper))).any()
    limit = Cat((~sign).replicate(bits - 1), sign)
    return Mux(over, limit, value[:bits]).as_signed(), over


class Requantize(wiring.Component):
    """z = sat(rnd(acc * scale, shift)) for P lanes (docs/arithmetic.md, 7).

    Ports::

        acc        in   P x signed(N)  accumulators
        scale      in   9              the matrix's M, for all of them
        shift      in   5              e + k, 1..28; a cycle before acc, scale and wide
        wide       in   1              flag: z fills int16, not int8
        z          out  P x int16      the values, latency cycles after acc
        saturated  out  P              flags: the value was clamped; with z

    The latency is 8. New operands every cycle; never stalls; no reset.
    """

    def __init__(self, accumulator_bits: int, width: int) -> None:
        self._width = width
        super().__init__(
            {
                "acc": In(data.ArrayLayout(signed(accumulator_bits), width)),
                "scale": In(MULTIPLIER_BITS),
                "shift": In(SHIFT_BITS),
                "wide": In(1),
                "z": Out(data.ArrayLayout(signed(16), width)),
                "saturated": Out(width),
            }
        )
        self.products = [
            Product(signed(accumulator_bits), MULTIPLIER_BITS, addend_bits=_ROUND_BITS)
            for _ in range(width)
        ]
        self.latency = LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle -1: half of what the shift drops.
        half = Signal(_ROUND_BITS, reset_less=True)
        m.d.sync += half.eq((1 << self.shift) >> 1)
        shift = delay(m, self.shift, 1 + _PRODUCT_LATENCY)
        shift_fine = delay(m, shift[:2], 1)
        wide_early = delay(m, self.wide, _PRODUCT_LATENCY + 2)
        wide = delay(m, wide_early, 1)
        for p, product in enumerate(self.products):
            # Cycles 0 to 3: the product, with the half added.
            m.submodules[f"product_{p}"] = product
            m.d.comb += [
                product.a.eq(self.acc[p]),
                product.b.eq(self.scale),
                product.addend.eq(half),
            ]
            # Cycle 4: shifted by a multiple of 4. Cycle 5: by 0..3 more. Cycle 6: whether it fits.
            coarse = Signal.like(product.o, reset_less=True, name=f"coarse_{p}")
            fine = Signal.like(product.o, reset_less=True, name=f"fine_{p}")
            value = Signal(signed(16), reset_less=True, name=f"value_{p}")
            over, sign = Signal(name=f"over_{p}"), Signal(name=f"sign_{p}")
            m.d.sync += [
                coarse.eq(product.o >> (shift[2:] << 2)),
                fine.eq(coarse >> shift_fine),
                value.eq(fine),
                sign.eq(fine[-1]),
                over.eq(Mux(wide_early, saturate(fine, 16)[1], saturate(fine, 8)[1])),
            ]
            # Cycle 7: the value, or its limit.
            limit = Cat((~sign).replicate(7), Mux(wide, ~sign, sign).replicate(8), sign)
            m.d.sync += [
                self.z[p].eq(Mux(over, limit, value)),
                self.saturated[p].eq(over),
            ]
        return m
