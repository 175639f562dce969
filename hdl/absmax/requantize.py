"""Requantization: an accumulator times the factor of its matrix, rounded, shifted, saturated."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import Timed, delay
from hdl.payloads import FACTOR_BITS, FACTOR_SHIFT_BITS

Z_BITS = 32
_SHIFTED = product_latency(FACTOR_BITS)
LATENCY = _SHIFTED + 4


def shifted_by(value: Value, shift: Value, bits: Iterable[int]) -> Value:
    """``value`` shifted down by these bits of ``shift``.

    A choice of two for each: Yosys takes half as many LUTs again for a choice of four.
    """
    for bit in bits:
        value = Mux(shift[bit], value >> (1 << bit), value)
    return value


class Requantize(wiring.Component):
    """z = sat_32(rnd(acc * factor, shift)) for P lanes (docs/arithmetic_absmax.md, 8).

    Ports::

        acc        in   P x signed(N)  accumulators
        factor     in   24             the matrix's F, for all of them
        shift      in   6              0..62, a cycle before acc and factor
        z          out  P x int32      the values, LATENCY = 9 cycles after acc
        saturated  out  P              flags: the value was clamped; with z

    At shift 0 whatever is not 0 is clamped. New operands every cycle; never stalls; no reset.
    """

    def __init__(self, accumulator_bits: int, width: int) -> None:
        self._product_bits = accumulator_bits + FACTOR_BITS
        super().__init__(
            {
                "acc": In(data.ArrayLayout(signed(accumulator_bits), width)),
                "factor": In(FACTOR_BITS),
                "shift": In(FACTOR_SHIFT_BITS),
                "z": Out(data.ArrayLayout(signed(Z_BITS), width)),
                "saturated": Out(width),
            }
        )
        self.products = [Product(signed(accumulator_bits), FACTOR_BITS) for _ in range(width)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle -1: rounding is to add 1 below the last bit, so one bit less is dropped first.
        dropped = Signal(FACTOR_SHIFT_BITS, reset_less=True)
        m.d.sync += dropped.eq(Mux(self.shift == 0, 0, self.shift - 1))
        shifts = Timed(m, dropped, last=_SHIFTED + 1)
        nothing = delay(m, self.shift == 0, 1 + _SHIFTED + 2)
        for p, product in enumerate(self.products):
            # Cycles 0 to _SHIFTED - 1: the product.
            m.submodules[f"product_{p}"] = product
            m.d.comb += [product.a.eq(self.acc[p]), product.b.eq(self.factor)]
            # The next two: shifted by 8s, then by less.
            value = product.o[: self._product_bits].as_signed()
            for n, shift_bits in enumerate(((3, 4, 5), (0, 1, 2))):
                shift = shifts.at(_SHIFTED + n)
                shifted = Signal.like(value, reset_less=True, name=f"shifted_{p}_{n}")
                m.d.sync += shifted.eq(shifted_by(value, shift, shift_bits))
                value = shifted
            # Cycle _SHIFTED + 2: rounded, and whether it surely does not fit. -2^31 - 1/2 becomes
            # -2^31, which does, so its bits are looked at when it is rounded.
            fits = Z_BITS + 2
            upper = value[fits - 1 :]
            rounded = Signal(signed(fits + 1), reset_less=True, name=f"rounded_{p}")
            over = Signal(reset_less=True, name=f"over_{p}")
            sign = Signal(reset_less=True, name=f"sign_{p}")
            m.d.sync += [
                rounded.eq(value[:fits].as_signed() + 1),
                sign.eq(value[-1]),
                over.eq(Mux(nothing, value.any(), upper.any() & ~upper.all())),
            ]
            # Cycle _SHIFTED + 3: the value, or its limit.
            upper = rounded[Z_BITS:]
            clamped = over | (upper.any() & ~upper.all())
            limit = Cat((~sign).replicate(Z_BITS - 1), sign)
            m.d.sync += [
                self.z[p].eq(Mux(clamped, limit, rounded[1:])),
                self.saturated[p].eq(clamped),
            ]
        return m
