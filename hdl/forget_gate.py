"""Forget gate and the index of the function tables."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.pipeline import delay
from hdl.requantize import saturate
from mmfree.formats import DEFAULT_FORMATS, GATES, INT8_MAX, INT8_MIN

BY_TABLE, SIGNED = GATES.index("sigmoid"), GATES.index("signed")
GATE_BITS = (len(GATES) - 1).bit_length()
FORGET_BITS = 10
"""Signed width of f, -256..256."""

TABLE_LATENCY = 2
"""Cycles from a table address to the registered entry."""

_ONE = 1 << DEFAULT_FORMATS.forget_fb


class ForgetGate(wiring.Component):
    """Table entry of sat_8(z + bias), or clamp(z + bias + 128, 0, 256), or clamp(z + bias, -256, 256), for P lanes (docs/arithmetic.md, 9).

    i and gate take the same way, with a bias of 0, to their SiLU entry.

    Ports: ``z``, ``bias`` (P int16), ``gate`` (index in GATES); ``index`` (P int8, one cycle later: address the table, which answers ``entry`` TABLE_LATENCY cycles after that);
    ``o`` (P int16) and ``saturated`` (P flags: the index was clamped), ``latency`` = 3 cycles after z. New operands every cycle; never stalls; no reset.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        values = data.ArrayLayout(signed(16), width)
        super().__init__(
            {
                "z": In(values),
                "bias": In(values),
                "gate": In(GATE_BITS),
                "index": Out(data.ArrayLayout(signed(8), width)),
                "entry": In(values),
                "o": Out(values),
                "saturated": Out(width),
            }
        )
        self.latency = 1 + TABLE_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gate = delay(m, self.gate, 1)
        by_table, signed_gate = gate == BY_TABLE, gate == SIGNED
        by_table_out = delay(m, by_table, TABLE_LATENCY)
        for p in range(self._width):
            # Cycle 0: bias.
            total = Signal(signed(17), reset_less=True, name=f"total_{p}")
            m.d.sync += total.eq(self.z[p] + self.bias[p])
            # Cycle 1: table address, and the hard gates.
            index, clamped = saturate(total, INT8_MIN, INT8_MAX)
            centre, low = Mux(signed_gate, 0, _ONE // 2), Mux(signed_gate, -_ONE, 0)
            ramp = Signal(signed(FORGET_BITS), name=f"ramp_{p}")
            m.d.comb += [
                self.index[p].eq(index),
                ramp.eq(saturate(total + centre, low, Const(_ONE))[0]),
            ]
            # Cycle 3: the entry has arrived.
            m.d.comb += [
                self.o[p].eq(Mux(by_table_out, self.entry[p], delay(m, ramp, TABLE_LATENCY))),
                self.saturated[p].eq(delay(m, clamped & by_table, TABLE_LATENCY)),
            ]
        return m
