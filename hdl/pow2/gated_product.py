"""A small operand times a table value: output of the MLGRU and of the GLU, and the noise."""

from __future__ import annotations

from amaranth.hdl import Const, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.product import Product, product_latency
from hdl.arithmetic.requantize import saturate
from hdl.pow2.forget_gate import ENTRY_BITS
from mmfree.contract.pow2 import DEFAULT_FORMATS, TEMPERATURE_FB, VALUE_BITS

SHIFT = DEFAULT_FORMATS.index_fb + DEFAULT_FORMATS.state_fb - DEFAULT_FORMATS.residual_fb
assert SHIFT == TEMPERATURE_FB, "noise and gates share the products"

OPERAND_BITS = 9
LATENCY = product_latency(signed(OPERAND_BITS), SHIFT) + 1


class GatedProduct(wiring.Component):
    """u = sat(rnd(operand * value, 6)) for P lanes (docs/arithmetic.md, 11, 12 and 14).

    Ports::

        operand    in   P x signed(9)  g or up, an int8, or the temperature
        value      in   P x int16      a SiLU entry, or Gumbel noise
        u          out  P x int16      LATENCY cycles later; ``value_bits`` each
        saturated  out  P              flags: u was clamped; with it

    New operands every cycle; never stalls; no reset.
    """

    def __init__(self, width: int, value_bits: int = VALUE_BITS) -> None:
        self._bits = value_bits
        super().__init__(
            {
                "operand": In(data.ArrayLayout(signed(OPERAND_BITS), width)),
                "value": In(data.ArrayLayout(signed(ENTRY_BITS), width)),
                "u": Out(data.ArrayLayout(signed(value_bits), width)),
                "saturated": Out(width),
            }
        )
        self.products = [
            Product(signed(ENTRY_BITS), signed(OPERAND_BITS), addend_bits=SHIFT)
            for _ in range(width)
        ]
        self.latency = LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            # Cycle 0: the product begins.
            m.d.comb += [
                product.a.eq(self.value[p]),
                product.b.eq(self.operand[p]),
                product.addend.eq(Const(1 << (SHIFT - 1))),
            ]
            # Cycle LATENCY - 1: it is there, and clamped.
            u, over = saturate(product.o[SHIFT:].as_signed(), self._bits)
            m.d.sync += [self.u[p].eq(u), self.saturated[p].eq(over)]
        return m
