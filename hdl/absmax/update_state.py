"""State update of the MLGRU: one product per channel."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.sigmoid import Z_BITS
from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import delay
from mmfree.contract.absmax import DEFAULT_ABSMAX_FORMATS

FORGET_FB = DEFAULT_ABSMAX_FORMATS.forget_fb
LOAD_BITS = FORGET_FB + 1
"""Width of 2^20 - f, and of f: 0..2^20."""

_ADDEND_BITS = FORGET_FB
_PRODUCT_LATENCY = product_latency(unsigned(LOAD_BITS), _ADDEND_BITS)
LATENCY = 1 + _PRODUCT_LATENCY + 1


class UpdateState(wiring.Component):
    """h' = h + rnd((2^20 - f) * (c - h), 20) for P lanes (docs/arithmetic_absmax.md, 10).

    Ports::

        load  in   P x 21     2^20 - f, 0..2^20: how far h goes to c
        c     in   P x int32  candidates
        h     in   P x int32  old states
        o     out  P x int32  h', LATENCY = 7 cycles later

    h' lies between h and c. New operands every cycle; never stalls; no reset.
    """

    def __init__(self, width: int) -> None:
        values = data.ArrayLayout(signed(Z_BITS), width)
        super().__init__(
            {
                "load": In(data.ArrayLayout(unsigned(LOAD_BITS), width)),
                "c": In(values),
                "h": In(values),
                "o": Out(values),
            }
        )
        self.products = [
            Product(signed(Z_BITS + 1), unsigned(LOAD_BITS), addend_bits=_ADDEND_BITS)
            for _ in range(width)
        ]
        self.latency = LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            c, h = self.c[p], self.h[p]
            # Cycle 0: how far it is from h to c.
            step = Signal(signed(Z_BITS + 1), reset_less=True, name=f"step_{p}")
            m.d.sync += step.eq(c - h)
            # Cycle 1: the product begins.
            m.d.comb += [
                product.a.eq(step),
                product.b.eq(delay(m, self.load[p], 1)),
                product.addend.eq(Const(1 << (FORGET_FB - 1))),
            ]
            # Cycle LATENCY - 1: it is there, and h is added.
            start = delay(m, h, LATENCY - 1)
            m.d.sync += self.o[p].eq(start + (product.o >> FORGET_FB))
        return m
