"""The products of g and up: the new state, and the vector W; and the noise of the head."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.gates import HALF, READY, SILU_ADDEND_BITS, SILU_PRODUCT_LATENCY
from hdl.absmax.requantize import LATENCY as Z
from hdl.absmax.sigmoid import INDEX_LATENCY, PAIR, SIGMOID_BITS, TABLE_PAIRS, Z_BITS, Sigmoid
from hdl.absmax.sigmoid import LATENCY as SIGMOID_LATENCY
from hdl.absmax.update_state import LATENCY as UPDATE_LATENCY
from hdl.absmax.update_state import LOAD_BITS, UpdateState
from hdl.arithmetic.noise import LATENCY as NOISE_LATENCY
from hdl.arithmetic.noise import NOISE_BITS
from hdl.arithmetic.product import Product, product_latency
from hdl.fabric.pipeline import Timed, copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.interface import GroupWrite, VectorRead
from hdl.memory.loaded_memory import LATENCY as TABLE_LATENCY
from hdl.memory.loaded_memory import CheckedRead
from hdl.payloads import (
    GATES_KIND,
    HEAD_KIND,
    TEMPERATURE_BITS,
    tag_history,
    tag_layout,
)
from hdl.rows.channels import read_channels, write_channels
from hdl.rows.tags import errors_of_used
from mmfree.chip.design import Design
from mmfree.contract.absmax import DEFAULT_ABSMAX_FORMATS, SIGMOID_FB
from mmfree.contract.pow2 import DEFAULT_FORMATS, TEMPERATURE_FB

_PRODUCT_LATENCY = product_latency(signed(Z_BITS))
W_BITS = 2 * Z_BITS
"""Signed width of a product."""

UPDATED = READY + UPDATE_LATENCY
ANSWERED = UPDATED + INDEX_LATENCY + TABLE_LATENCY
SQUASHED = UPDATED + SIGMOID_LATENCY
SILU_READY = SQUASHED + SILU_PRODUCT_LATENCY
"""Cycles, counted from the tag's: h'; the word for it; its sigmoid; its SiLU."""

GLU_READY = READY + 1 + _PRODUCT_LATENCY
GATES_READY = SILU_READY + 1 + _PRODUCT_LATENCY
NOISE_READY = NOISE_LATENCY + 1 + _PRODUCT_LATENCY + 1
"""Cycles, likewise: up * SiLU(gate); g * SiLU(h'); temperature * Gumbel entry, rounded."""

_NOISE_SHIFT = DEFAULT_ABSMAX_FORMATS.logit_fb - DEFAULT_FORMATS.residual_fb
SCALED_NOISE_BITS = TEMPERATURE_BITS + NOISE_BITS - TEMPERATURE_FB + _NOISE_SHIFT
"""Signed width of the noise with the fraction bits of logits."""


class Products(wiring.Component):
    """h' from 2^20 - f, c and h; W from g and SiLU(h'), or from up and the SiLU of gate.

    ::

        state --> h -+
        entry --> c -+--> UpdateState --> h' --> state
        load --------+                    |
                                          +----> Sigmoid <-> table
                                          |         |
                                          +------- x --> SiLU(h') -+  (g)
        entry --> SiLU(gate) --------------------------------------+  (up) --> x --> W, or noise
        noise_entry -----------------------------------------------+  (head)
        z, or temperature -----------------------------------------+

    docs/arithmetic_absmax.md, 9, 10 and 12. One set of product units serves the three: segments
    take turns, and each kind of segment has the values at its own cycle.

    Ports::

        tags          in   tag_history      tags[n]: of the P values that are in cycle n
        z             in   P x int32        them, requantized, cycle Z: g or up
        kind          in   3                of the segment, stable while it lasts
        begin         in   1                the token's flag: h reads as 0
        restart       in   1                a token begins: the state from the first word on
        entry         in   P x int32        of Gates, READY cycles after an operand's tag
        load          in   P x 21           likewise
        noise_entry   in   P x signed(14)   of Noise, NOISE_LATENCY cycles after a logit's tag
        temperature   in   8                in 64ths, stable while a token is played
        state         out  VectorRead       h, in order
        table         out  P x CheckedRead  words of the sigmoid
        write_state   out  GroupWrite       of h', cycle UPDATED
        tag           out  tag_layout       of w: cycle GATES_READY or GLU_READY
        w             out  P x signed(64)   g * SiLU(h') or up * SiLU(gate)
        operand       out  P x int32        g or up; with w
        noise         out  P x signed(23)   of a logit, cycle NOISE_READY
        table_errors  out  P                flags: an entry that was used has a parity error

    P values per cycle, never stalls. After reset nothing is written.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        width = design.post_width
        values = data.ArrayLayout(signed(Z_BITS), width)
        super().__init__(
            {
                "tags": In(tag_history(design, SILU_READY)),
                "z": In(values),
                "kind": In(3),
                "begin": In(1),
                "restart": In(1),
                "entry": In(values),
                "load": In(data.ArrayLayout(unsigned(LOAD_BITS), width)),
                "noise_entry": In(data.ArrayLayout(signed(NOISE_BITS), width)),
                "temperature": In(TEMPERATURE_BITS),
                "state": Out(VectorRead(design, design.state_words, width)),
                "table": Out(CheckedRead(TABLE_PAIRS, PAIR)).array(width),
                "write_state": Out(GroupWrite(design, design.state_words)),
                "tag": Out(tag_layout(design)),
                "w": Out(data.ArrayLayout(signed(W_BITS), width)),
                "operand": Out(values),
                "noise": Out(data.ArrayLayout(signed(SCALED_NOISE_BITS), width)),
                "table_errors": Out(width),
            }
        )
        self.update_state = UpdateState(width)
        self.sigmoid = Sigmoid(width)
        self.silu_products = [
            Product(signed(Z_BITS), unsigned(SIGMOID_BITS), addend_bits=SILU_ADDEND_BITS)
            for _ in range(width)
        ]
        self.gated_products = [Product(signed(Z_BITS), signed(Z_BITS)) for _ in range(width)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.update_state = self.update_state
        m.submodules.sigmoid = self.sigmoid
        tags = self.tags
        gates = Signal()
        m.d.sync += gates.eq(self.kind == GATES_KIND)
        self._update_state(m, tags, gates)
        silus = self._squash_state(m, tags, gates)
        self._gated_product(m, technology_of(platform), tags, gates, silus)
        return m

    def _update_state(self, m: Module, tags: data.View[data.ArrayLayout], gates: Value) -> None:
        update = self.update_state
        h, address = read_channels(
            m,
            self._design,
            tags,
            gates,
            begin=self.begin,
            restart=self.restart,
            state=self.state,
            ready=READY,
            updated=UPDATED,
        )
        # Cycle READY: c, f and h together.
        m.d.comb += [update.c.eq(self.entry), update.load.eq(self.load), update.h.eq(h)]
        # Cycle UPDATED: h'.
        write_channels(
            m,
            tags[UPDATED],
            gates,
            address=address.at(UPDATED),
            values=update.o,
            write=self.write_state,
        )

    def _squash_state(
        self, m: Module, tags: data.View[data.ArrayLayout], gates: Value
    ) -> list[Value]:
        """SiLU of h', cycle SILU_READY."""
        sigmoid, silus = self.sigmoid, []
        m.d.comb += sigmoid.z.eq(self.update_state.o)
        for p, product in enumerate(self.silu_products):
            m.submodules[f"silu_product_{p}"] = product
            h = Timed(m, self.update_state.o[p], first=UPDATED, last=SQUASHED)
            # Cycle UPDATED: the sigmoid begins. Cycle SQUASHED: the product.
            m.d.comb += [
                self.table[p].address.eq(sigmoid.address[p]),
                sigmoid.pair[p].eq(self.table[p].data),
                product.a.eq(h.at(SQUASHED)),
                product.b.eq(sigmoid.o[p]),
                product.addend.eq(HALF),
            ]
            silus.append(product.o[SIGMOID_FB:][:Z_BITS].as_signed())
        answered = tags[ANSWERED]
        operands = answered.role.operand
        m.d.comb += self.table_errors.eq(errors_of_used(m, self.table, answered, operands, gates))
        return silus

    def _gated_product(
        self,
        m: Module,
        technology: Technology,
        tags: data.View[data.ArrayLayout],
        gates: Value,
        silus: list[Value],
    ) -> None:
        """Operand times value: in cycle READY of up, SILU_READY of g, NOISE_LATENCY of a logit."""
        kinds = copies(
            m,
            technology,
            Cat(self.kind == GATES_KIND, self.kind == HEAD_KIND),
            self._design.post_width,
        )
        for p, (own_gates, head) in enumerate(kinds):
            product = m.submodules[f"gated_product_{p}"] = self.gated_products[p]
            z = Timed(m, self.z[p], first=Z, last=SILU_READY)
            operand = Signal(signed(Z_BITS), reset_less=True, name=f"operand_{p}")
            value = Signal(signed(Z_BITS), reset_less=True, name=f"value_{p}")
            own_operand = Mux(own_gates, z.at(SILU_READY), z.at(READY))
            own_value = Mux(own_gates, silus[p], self.entry[p])
            m.d.sync += [
                operand.eq(Mux(head, self.temperature, own_operand)),
                value.eq(Mux(head, self.noise_entry[p], own_value)),
            ]
            # From here on cycles are those of the product: cycle 0 has its operands.
            m.d.comb += [
                product.a.eq(value),
                product.b.eq(operand),
                self.operand[p].eq(delay(m, operand, _PRODUCT_LATENCY)),
            ]
            # Cycle _PRODUCT_LATENCY: W. A cycle later: the noise, rounded.
            noise = Signal(
                signed(SCALED_NOISE_BITS - _NOISE_SHIFT), reset_less=True, name=f"noise_{p}"
            )
            half = 1 << (TEMPERATURE_FB - 1)
            noisy = product.o[: TEMPERATURE_BITS + NOISE_BITS].as_signed()
            m.d.sync += noise.eq((noisy + half) >> TEMPERATURE_FB)
            m.d.comb += [
                self.w[p].eq(product.o[:W_BITS].as_signed()),
                self.noise[p].eq(noise << _NOISE_SHIFT),
            ]
        tag = Signal.like(tags[0])
        m.d.sync += tag.eq(Mux(gates, tags[SILU_READY].as_value(), tags[READY].as_value()))
        m.d.comb += self.tag.eq(delay(m, tag, _PRODUCT_LATENCY, reset=True))
