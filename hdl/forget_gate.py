"""Forget gate and the index of the function tables."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.pipeline import delay
from hdl.requantize import saturate
from mmfree.formats import INT8_MAX, INT8_MIN

TABLE_LATENCY = 2
"""Cycles from a table address to the registered entry."""


class ForgetGate(wiring.Component):
    """Table entry of sat_8(z + bias), or the hard gate clamp(z + bias + 128, 0, 256), for P lanes (docs/arithmetic.md, 9).

    i and gate take the same way, with a bias of 0, to their SiLU entry.

    Ports: ``z``, ``bias`` (P int16), ``hard``; ``index`` (P int8, one cycle later: address the table, which answers ``entry`` TABLE_LATENCY cycles after that);
    ``o`` (P int16) and ``saturated`` (P flags: the index was clamped), ``latency`` = 3 cycles after z. New operands every cycle; never stalls; no reset.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        values = data.ArrayLayout(signed(16), width)
        super().__init__(
            {
                "z": In(values),
                "bias": In(values),
                "hard": In(1),
                "index": Out(data.ArrayLayout(signed(8), width)),
                "entry": In(values),
                "o": Out(values),
                "saturated": Out(width),
            }
        )
        self.latency = 1 + TABLE_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        hard_sum = delay(m, self.hard, 1)
        hard_out = delay(m, hard_sum, TABLE_LATENCY)
        for p in range(self._width):
            # Cycle 0: bias.
            total = Signal(signed(17), reset_less=True, name=f"total_{p}")
            m.d.sync += total.eq(self.z[p] + self.bias[p])
            # Cycle 1: table address, and the hard gate.
            index, clamped = saturate(total, INT8_MIN, INT8_MAX)
            hard_value = saturate(total + 128, 0, 256)[0]
            ramp = Signal(9, name=f"ramp_{p}")
            m.d.comb += [self.index[p].eq(index), ramp.eq(hard_value)]
            # Cycle 3: the entry has arrived.
            m.d.comb += [
                self.o[p].eq(Mux(hard_out, delay(m, ramp, TABLE_LATENCY), self.entry[p])),
                self.saturated[p].eq(delay(m, clamped & ~hard_sum, TABLE_LATENCY)),
            ]
        return m
