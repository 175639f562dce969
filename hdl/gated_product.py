"""Output product of the MLGRU and of the GLU: an int8 operand times a table value."""

from __future__ import annotations

from amaranth.hdl import Const, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.product import Product
from hdl.requantize import saturate
from mmfree.formats import DEFAULT_FORMATS, INT16_MAX, INT16_MIN

SHIFT = DEFAULT_FORMATS.index_fb + DEFAULT_FORMATS.state_fb - DEFAULT_FORMATS.residual_fb


class GatedProduct(wiring.Component):
    """u = sat_16(rnd(operand * value, 6)) for P lanes (docs/arithmetic.md, 11 and 12).

    Ports: ``operand`` (P int8: g or up), ``value`` (P int16: a SiLU entry); ``u`` (P int16) and ``saturated`` (P flags), ``latency`` cycles later.
    New operands every cycle; never stalls; no reset.
    """

    def __init__(self, width: int) -> None:
        values = data.ArrayLayout(signed(16), width)
        super().__init__(
            {
                "operand": In(data.ArrayLayout(signed(8), width)),
                "value": In(values),
                "u": Out(values),
                "saturated": Out(width),
            }
        )
        self.products = [Product(signed(16), signed(8), addend_bits=SHIFT) for _ in range(width)]
        self.latency = self.products[0].latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            m.d.comb += [
                product.a.eq(self.value[p]),
                product.b.eq(self.operand[p]),
                product.addend.eq(Const(1 << (SHIFT - 1))),
            ]
            u, over = saturate(product.o >> SHIFT, INT16_MIN, INT16_MAX)
            m.d.sync += [self.u[p].eq(u), self.saturated[p].eq(over)]
        return m
