"""The gates: f, and the SiLU of i and gate, which wait for the operands of the same rows."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.requantize import LATENCY as Z
from hdl.arithmetic.requantize import Z_BITS
from hdl.fabric.pipeline import delay
from hdl.memory.block_memory import next_word
from hdl.memory.layer_biases import bias_latency
from hdl.memory.loaded_memory import CheckedRead
from hdl.payloads import tag_history
from hdl.pow2.forget_gate import (
    BY_TABLE,
    ENTRY_BITS,
    FORGET_BITS,
    GATE_BITS,
    INDEX_LATENCY,
    SIGMOID,
    SILU,
    TABLE_LATENCY,
    TABLE_WORDS,
    ForgetGate,
)
from hdl.pow2.forget_gate import LATENCY as FORGET_LATENCY
from hdl.rows.buffers import keep_rows
from hdl.rows.tags import errors_of_used
from mmfree.chip.design import Design

INDEXED = Z + INDEX_LATENCY
ANSWERED = INDEXED + TABLE_LATENCY
ENTRY = Z + FORGET_LATENCY
READY = ENTRY + 1
"""Cycles, counted from the tag's: the table's address; its answer; entry or f at the buffer; what
the buffer gives for an operand whose tag came READY cycles ago."""


class Gates(wiring.Component):
    """Entries of the tables and f, kept by row block until the operands of g or up come.

    ::

        z --> + bias --> table of sigmoid, or clamps --> f --------+
          |                                                        v
          +-----------> table of SiLU --------------> entry --> buffers --> entry, forget

    The first two matrices of a row block fill the buffers, the last one reads them: by ``slot``.

    Ports::

        tags           in   tag_history        tags[n]: of the P values that are in cycle n
        z              in   P x int16          them, requantized, cycle Z
        gate           in   2                  index in GATES, of the segment
        restart        in   1                  the biases from the first on
        bias           out  CheckedRead        words of P x int16, in order
        table          out  P x CheckedRead    entries, int16
        entry          out  P x int16          of i or gate, READY cycles after an operand's tag
        forget         out  P x signed(10)     f, likewise
        saturated      out  P                  flags: the index of f was clamped, cycle ENTRY
        bias_error     out  1                  a word of biases that was used has a parity error
        table_errors   out  P                  flags: likewise, entries

    P values per cycle, never stalls. After reset no flag is set, and the buffers are undefined.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        width = design.post_width
        values = data.ArrayLayout(signed(Z_BITS), width)
        entries = data.ArrayLayout(signed(ENTRY_BITS), width)
        super().__init__(
            {
                "tags": In(tag_history(design, ENTRY)),
                "z": In(values),
                "gate": In(GATE_BITS),
                "restart": In(1),
                "bias": Out(CheckedRead(design.bias_words, values)),
                "table": Out(CheckedRead(TABLE_WORDS, signed(ENTRY_BITS))).array(width),
                "entry": Out(entries),
                "forget": Out(data.ArrayLayout(signed(FORGET_BITS), width)),
                "saturated": Out(width),
                "bias_error": Out(1),
                "table_errors": Out(width),
            }
        )
        self.forget_gate = ForgetGate(width)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.forget_gate = gate = self.forget_gate
        tags = self.tags
        # Cycle Z - 1 - latency: a word of biases is asked for. Cycle Z - 1: it is there.
        early, biased = tags[Z - 1 - bias_latency(self._design)], tags[Z - 1]
        bias = Signal.like(self.bias.data, reset_less=True)
        m.d.sync += bias.as_value().eq(Mux(biased.role.forget, self.bias.data.as_value(), 0))
        m.d.comb += self.bias.address.eq(
            next_word(
                m, early.valid & early.role.forget, self.restart, words=self._design.bias_words
            )
        )
        # Cycle Z: i, f or gate.
        m.d.comb += [
            gate.z.eq(self.z),
            gate.bias.eq(bias),
            gate.gate.eq(Mux(tags[Z].role.forget, self.gate, BY_TABLE)),
        ]
        # Cycle INDEXED: the tables are asked. Cycle ANSWERED: the entries are there.
        select = Mux(tags[INDEXED].role.forget, SIGMOID, SILU)
        for p, table in enumerate(self.table):
            m.d.comb += [
                table.address.eq(Cat(gate.index[p], select)),
                gate.entry[p].eq(table.data),
            ]
        # Cycle ENTRY: into the buffers, and for an operand out of them.
        late = tags[ENTRY]
        m.d.comb += self.saturated.eq(
            Mux(late.valid & late.role.forget, gate.saturated & late.keep, 0)
        )
        forgets = Cat(gate.o[p][:FORGET_BITS] for p in range(self._design.post_width))
        m.d.comb += [
            self.entry.as_value().eq(
                keep_rows(m, self._design, "entries", late, late.role.table, gate.o.as_value())
            ),
            self.forget.as_value().eq(
                keep_rows(m, self._design, "forgets", late, late.role.forget, forgets)
            ),
        ]
        self._check(m, tags)
        return m

    def _check(self, m: Module, tags: data.View[data.ArrayLayout]) -> None:
        """A parity error counts if the word was used; it comes a cycle after the word."""
        biased, answered = tags[Z - 1], tags[ANSWERED]
        by_table = answered.role.table | (answered.role.forget & (self.gate == BY_TABLE))
        m.d.comb += [
            self.bias_error.eq(
                delay(m, biased.valid & biased.role.forget, 1, reset=True) & self.bias.parity_error
            ),
            self.table_errors.eq(errors_of_used(m, self.table, answered, by_table)),
        ]
