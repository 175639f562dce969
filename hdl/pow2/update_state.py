"""State update of the MLGRU: one product per channel."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.adder import add_with_carry, negate_if
from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import delay
from hdl.pow2.forget_gate import ENTRY_BITS
from mmfree.contract.pow2 import DEFAULT_FORMATS, VALUE_BITS

_ONE = 1 << DEFAULT_FORMATS.forget_fb
_PRODUCT_LATENCY = product_latency(unsigned(9), 8)
LATENCY = 1 + _PRODUCT_LATENCY + 1


class UpdateState(wiring.Component):
    """h' = s + rnd((256 - |f|) * (c - s), 8) for P lanes, s = -h for f < 0, else h.

    docs/arithmetic.md, 10.

    Ports::

        f  in   P x signed(10)  forget gates, -256..256
        c  in   P x int16       candidates
        h  in   P x int16       old states; ``value_bits`` each
        o  out  P x int16       h', LATENCY cycles later; ``value_bits`` each

    Cannot overflow, except for h or c of the lowest value with f < 0. New operands every cycle;
    never stalls; no reset.
    """

    def __init__(self, width: int, value_bits: int = VALUE_BITS) -> None:
        self._width, self._step_bits = width, value_bits + 1
        values = data.ArrayLayout(signed(value_bits), width)
        super().__init__(
            {
                "f": In(data.ArrayLayout(signed(10), width)),
                "c": In(data.ArrayLayout(signed(ENTRY_BITS), width)),
                "h": In(values),
                "o": Out(values),
            }
        )
        self.products = [
            Product(signed(self._step_bits), unsigned(9), addend_bits=8) for _ in range(width)
        ]
        self.latency = LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        answered = 1 + _PRODUCT_LATENCY
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            load = Signal(unsigned(9), reset_less=True, name=f"load_{p}")
            step = Signal(signed(self._step_bits), reset_less=True, name=f"step_{p}")
            f, h, turn = self.f[p], self.h[p], self.f[p] < 0
            # Cycle 0: 256 - |f| and c - s.
            m.d.sync += [
                load.eq(add_with_carry(Const(_ONE, signed(10)), negate_if(~turn, f), ~turn)),
                step.eq(add_with_carry(self.c[p], negate_if(~turn, h), ~turn)),
            ]
            # Cycle 1: their product begins.
            m.d.comb += [
                product.a.eq(step),
                product.b.eq(load),
                product.addend.eq(Const(_ONE // 2)),
            ]
            # Cycle ``answered``: it is there, and s is added.
            start = delay(m, negate_if(turn, h), answered)
            turned = delay(m, turn, answered)
            change = product.o >> DEFAULT_FORMATS.forget_fb
            m.d.sync += self.o[p].eq(add_with_carry(start, change, turned))
        return m
