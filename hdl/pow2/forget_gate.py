"""The forget gate, and the index into the function tables."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.requantize import saturate
from hdl.fabric.pipeline import delay
from hdl.memory.loaded_memory import LATENCY as LATENCY_OF_MEMORY
from mmfree.contract.pow2 import DEFAULT_FORMATS, GATES, TABLE_ENTRIES

BY_TABLE, SIGNED = GATES.index("sigmoid"), GATES.index("signed")
GATE_BITS = (len(GATES) - 1).bit_length()
FORGET_BITS = 10
"""Signed width of f, -256..256."""

INDEX_LATENCY, TABLE_LATENCY = 2, LATENCY_OF_MEMORY
"""Cycles from a value to its table address, and from there to the entry."""

LATENCY = INDEX_LATENCY + TABLE_LATENCY + 1

SIGMOID, SILU = 0, 1
"""Top bit of a table's address: which function; below it the low bits of an index."""

TABLE_WORDS, ENTRY_BITS = 2 * TABLE_ENTRIES, 16
"""Size of the tables: entries of both functions, and their signed width."""

_ONE = 1 << DEFAULT_FORMATS.forget_fb


class ForgetGate(wiring.Component):
    """f for P lanes, by table or by one of two clamps (docs/arithmetic.md, 9).

    sigmoid: the table entry of sat_8(z + bias). hard: clamp(z + bias + 128, 0, 256). signed:
    clamp(z + bias, -256, 256). i and gate take the same path, with a bias of 0, to their SiLU
    entry.

    Ports::

        z          in   P x int16  requantized values
        bias       in   P x int16  their biases, 0 for i and gate
        gate       in   2          index in GATES
        index      out  P x int8   to address the table, INDEX_LATENCY = 2 cycles after z
        entry      in   P x int16  its answers, TABLE_LATENCY cycles after index
        o          out  P x int16  f, or the entry, LATENCY = 5 cycles after z
        saturated  out  P          flags: the index was clamped; with o

    New operands every cycle; never stalls; no reset.
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
        self.latency = LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        by_table = Signal()
        signed_gate = Signal()
        m.d.sync += [by_table.eq(self.gate == BY_TABLE), signed_gate.eq(self.gate == SIGNED)]
        signed_later = delay(m, signed_gate, 1)
        by_table_out = delay(m, by_table, 1 + TABLE_LATENCY)
        for p in range(self._width):
            # Cycle 0: bias.
            total = Signal(signed(17), reset_less=True, name=f"total_{p}")
            m.d.sync += total.eq(self.z[p] + self.bias[p])
            # Cycle 1: table address. Cycles 1, 2: the hard gates, total + 128 in 0..256, or total
            # in -256..256.
            index, clamped = saturate(total, 8)
            register = Signal(signed(8), reset_less=True, name=f"index_{p}")
            ramp = Signal(signed(FORGET_BITS), reset_less=True, name=f"ramp_{p}")
            centred = Signal(signed(18), reset_less=True, name=f"centred_{p}")
            m.d.comb += self.index[p].eq(register)
            m.d.sync += centred.eq(total + Mux(signed_gate, 0, _ONE // 2))
            beyond, below = ~centred[-1] & centred[8:-1].any(), centred[-1] & ~centred[8:-1].all()
            low = Mux(signed_later, -_ONE, 0)
            m.d.sync += [
                register.eq(index),
                ramp.eq(
                    Mux(beyond, _ONE, Mux(below | (centred[-1] & ~signed_later), low, centred))
                ),
            ]
            # Cycle 4: the entry has arrived.
            m.d.sync += [
                self.o[p].eq(Mux(by_table_out, self.entry[p], delay(m, ramp, TABLE_LATENCY - 1))),
                self.saturated[p].eq(delay(m, clamped & by_table, 1 + TABLE_LATENCY)),
            ]
        return m
