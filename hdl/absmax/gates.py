"""The gates: 2^20 - f, and the SiLU of i and gate, which wait for the operands of the same rows."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.requantize import LATENCY as Z
from hdl.absmax.sigmoid import (
    INDEX_LATENCY,
    PAIR,
    SIGMOID_BITS,
    TABLE_PAIRS,
    Z_BITS,
    Sigmoid,
)
from hdl.absmax.sigmoid import LATENCY as SIGMOID_LATENCY
from hdl.absmax.update_state import FORGET_FB, LOAD_BITS
from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import Timed, delay
from hdl.memory.loaded_memory import LATENCY as TABLE_LATENCY
from hdl.memory.loaded_memory import CheckedRead
from hdl.memory.parameters import LATENCY as PARAMETER_LATENCY
from hdl.memory.parameters import ParameterRead
from hdl.payloads import tag_history
from hdl.rows.buffers import keep_rows
from hdl.rows.tags import errors_of_used
from mmfree.chip.design import Design
from mmfree.contract.absmax import SIGMOID_FB

SILU_ADDEND_BITS = SIGMOID_FB
SILU_PRODUCT_LATENCY = product_latency(unsigned(SIGMOID_BITS), SILU_ADDEND_BITS)
"""Of a product with a sigmoid, rounded by its addend."""

HALF = Const(1 << (SIGMOID_FB - 1), SIGMOID_FB)

ANSWERED = Z + INDEX_LATENCY + TABLE_LATENCY
SQUASHED = Z + SIGMOID_LATENCY
KEPT = SQUASHED + SILU_PRODUCT_LATENCY
READY = KEPT + 1
"""Cycles, counted from the tag's: the table's answer; the sigmoid; what goes to the buffers; what
they give for an operand whose tag came READY cycles ago.
"""

_ASKING = SQUASHED - 1 - PARAMETER_LATENCY


class Gates(wiring.Component):
    """SiLU of i or gate, and 2^20 - f, kept by row block until the operands of g or up come.

    ::

        bound --> room = 2^20 - lb --+
                                     v                  +----> silu --> buffers --> entry
        z ---+--------------> z, or room (f) -----> x --+
             |                                      ^   +----> room - it --> buffers --> load
             +--> Sigmoid <-> table ----------------+

    docs/arithmetic_absmax.md, 9 and 10: 2^20 - f = room - rnd(room * sigmoid(z), 24). The first two
    matrices of a row block fill the buffers, the last one reads them: by ``slot``.

    Ports::

        tags          in   tag_history      tags[n]: of the P values that are in cycle n
        z             in   P x int32        them, requantized, cycle Z
        bound         out  ParameterRead    lower bounds of f, 0..2^20, in order
        table         out  P x CheckedRead  words of the sigmoid
        entry         out  P x int32        SiLU of i or gate, READY cycles after an operand's tag
        load          out  P x 21           2^20 - f, likewise
        table_errors  out  P                flags: an entry that was used has a parity error

    P values per cycle, never stalls. After reset no flag is set, and the buffers are undefined.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        width = design.post_width
        values = data.ArrayLayout(signed(Z_BITS), width)
        super().__init__(
            {
                "tags": In(tag_history(design, KEPT)),
                "z": In(values),
                "bound": Out(ParameterRead(design)),
                "table": Out(CheckedRead(TABLE_PAIRS, PAIR)).array(width),
                "entry": Out(values),
                "load": Out(data.ArrayLayout(unsigned(LOAD_BITS), width)),
                "table_errors": Out(width),
            }
        )
        self.sigmoid = Sigmoid(width)
        self.products = [
            Product(signed(Z_BITS), unsigned(SIGMOID_BITS), addend_bits=SILU_ADDEND_BITS)
            for _ in range(width)
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sigmoid = sigmoid = self.sigmoid
        tags = self.tags
        # Cycle Z: the sigmoid begins. Cycle _ASKING: lower bounds are asked for, for f alone.
        asking, bounded = tags[_ASKING], tags[SQUASHED - 1]
        m.d.comb += [
            sigmoid.z.eq(self.z),
            self.bound.next.eq(asking.valid & asking.role.forget),
        ]
        silus, loads = [], []
        for p, product in enumerate(self.products):
            m.submodules[f"product_{p}"] = product
            m.d.comb += [
                self.table[p].address.eq(sigmoid.address[p]),
                sigmoid.pair[p].eq(self.table[p].data),
            ]
            # Cycle SQUASHED - 1: the bound is there.
            z = Timed(m, self.z[p], first=Z, last=SQUASHED - 1)
            room = Signal(LOAD_BITS, name=f"room_{p}")
            factor = Signal(signed(Z_BITS), reset_less=True, name=f"factor_{p}")
            m.d.comb += room.eq((1 << FORGET_FB) - self.bound.values[p])
            m.d.sync += factor.eq(Mux(bounded.role.forget, room, z.at(SQUASHED - 1)))
            # Cycle SQUASHED: the product begins.
            m.d.comb += [
                product.a.eq(factor),
                product.b.eq(sigmoid.o[p]),
                product.addend.eq(HALF),
            ]
            # Cycle KEPT: it is there.
            kept_room = delay(m, factor[:LOAD_BITS], SILU_PRODUCT_LATENCY)
            rounded = product.o >> SIGMOID_FB
            silus.append(rounded[:Z_BITS])
            loads.append((kept_room - rounded)[:LOAD_BITS])
        # Cycle KEPT: into the buffers, and for an operand out of them.
        late = tags[KEPT]
        entries = keep_rows(m, self._design, "entries", late, late.role.table, Cat(silus))
        kept_loads = keep_rows(m, self._design, "loads", late, late.role.forget, Cat(loads))
        m.d.comb += [self.entry.as_value().eq(entries), self.load.as_value().eq(kept_loads)]
        answered = tags[ANSWERED]
        used = answered.role.table | answered.role.forget
        m.d.comb += self.table_errors.eq(errors_of_used(m, self.table, answered, used))
        return m
