"""The products of g and up: the new state, and the vector u; and the noise of the head."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.noise import LATENCY as NOISE_LATENCY
from hdl.arithmetic.noise import NOISE_BITS
from hdl.arithmetic.requantize import LATENCY as Z
from hdl.arithmetic.requantize import Z_BITS, saturate
from hdl.fabric.pipeline import Timed, copies
from hdl.fabric.technology import Technology, technology_of
from hdl.interface import GroupWrite, VectorRead
from hdl.memory.loaded_memory import CheckedRead
from hdl.payloads import (
    EARLY,
    GATES_KIND,
    HEAD_KIND,
    TEMPERATURE_BITS,
    tag_history,
    values_layout,
    vector_groups,
)
from hdl.pow2.forget_gate import (
    ENTRY_BITS,
    FORGET_BITS,
    INDEX_LATENCY,
    SILU,
    TABLE_LATENCY,
    TABLE_WORDS,
)
from hdl.pow2.gated_product import LATENCY as PRODUCT_LATENCY
from hdl.pow2.gated_product import OPERAND_BITS, GatedProduct
from hdl.pow2.gates import READY
from hdl.pow2.update_state import LATENCY as UPDATE_LATENCY
from hdl.pow2.update_state import UpdateState
from hdl.rows.channels import read_channels, write_channels
from hdl.rows.tags import errors_of_used
from mmfree.chip.design import Design
from mmfree.contract.pow2 import DEFAULT_FORMATS

UPDATED = READY + UPDATE_LATENCY
INDEXED = UPDATED + INDEX_LATENCY
SQUASHED = INDEXED + TABLE_LATENCY
"""Cycles, counted from the tag's: h'; its table address; SiLU of it."""

GLU_WRITTEN = READY + 1 + PRODUCT_LATENCY
GATES_WRITTEN = SQUASHED + 1 + PRODUCT_LATENCY
NOISE_READY = NOISE_LATENCY + 1 + PRODUCT_LATENCY
"""Cycles, likewise: the write of up * SiLU(gate); of g * SiLU(h'); temperature * Gumbel entry."""

_INDEX_SHIFT = DEFAULT_FORMATS.state_fb - DEFAULT_FORMATS.index_fb


class Products(wiring.Component):
    """h' from c, f and h; u from g and SiLU(h'), or from up and the SiLU of gate.

    ::

        state --> h -+
        entry --> c -+--> UpdateState --> h' --> state
        forget -> f -+                    |
                                          +----> SiLU -+  (g)
        entry --> SiLU(gate) --------------------------+  (up) --> GatedProduct --> u, or noise
        noise_entry -----------------------------------+  (head)
        z, or temperature -----------------------------+

    docs/arithmetic.md, 10 to 12 and 14. One set of product units serves the three: segments take
    turns, and each kind of segment has the values at its own cycle.

    Ports::

        tags               in   tag_history      tags[n]: of the P values that are in cycle n
        z                  in   P x int16        them, requantized, cycle Z: g or up
        kind               in   3                of the segment, stable while it lasts
        begin              in   1                the token's flag: h reads as 0
        restart            in   1                a token begins: the state from the first word on
        entry              in   P x int16        of Gates, READY cycles after an operand's tag
        forget             in   P x signed(10)   likewise
        noise_entry        in   P x signed(14)   of Noise, NOISE_LATENCY cycles after a logit's tag
        temperature        in   8                in 64ths, stable while a token is played
        state              out  VectorRead       h, in order
        table              out  P x CheckedRead  SiLU, int16
        write_state        out  GroupWrite       of h', cycle UPDATED
        write_u            out  GroupWrite       of u, cycle GATES_WRITTEN or GLU_WRITTEN
        vector_done        out  1                u is complete: its last value comes EARLY cycles on
        noise              out  P x int16        of a logit, cycle NOISE_READY
        saturated_state    out  P                flags: h' was clamped for its index, UPDATED + 1
        saturated_product  out  P                flags: u was clamped; with write_u
        table_errors       out  P                flags: an entry that was used has a parity error

    P values per cycle, never stalls. After reset nothing is written.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        width = design.post_width
        entries = data.ArrayLayout(signed(ENTRY_BITS), width)
        super().__init__(
            {
                "tags": In(tag_history(design, SQUASHED)),
                "z": In(data.ArrayLayout(signed(Z_BITS), width)),
                "kind": In(3),
                "begin": In(1),
                "restart": In(1),
                "entry": In(entries),
                "forget": In(data.ArrayLayout(signed(FORGET_BITS), width)),
                "noise_entry": In(data.ArrayLayout(signed(NOISE_BITS), width)),
                "temperature": In(TEMPERATURE_BITS),
                "state": Out(VectorRead(design, design.state_words, width)),
                "table": Out(CheckedRead(TABLE_WORDS, signed(ENTRY_BITS))).array(width),
                "write_state": Out(GroupWrite(design, design.state_words)),
                "write_u": Out(GroupWrite(design, vector_groups(design, design.max_tiles))),
                "vector_done": Out(1),
                "noise": Out(values_layout(design, width)),
                "saturated_state": Out(width),
                "saturated_product": Out(width),
                "table_errors": Out(width),
            }
        )
        self.update_state = UpdateState(width, design.value_bits)
        self.gated_product = GatedProduct(width, design.value_bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.update_state = self.update_state
        m.submodules.gated_product = self.gated_product
        tags = self.tags
        gates = Signal()
        m.d.sync += gates.eq(self.kind == GATES_KIND)
        self._update_state(m, tags, gates)
        self._look_up_state(m, tags, gates)
        self._gated_product(m, technology_of(platform), tags, gates)
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
        m.d.comb += [update.c.eq(self.entry), update.f.eq(self.forget), update.h.eq(h)]
        # Cycle UPDATED: h'.
        write_channels(
            m,
            tags[UPDATED],
            gates,
            address=address.at(UPDATED),
            values=update.o,
            write=self.write_state,
        )

    def _look_up_state(self, m: Module, tags: data.View[data.ArrayLayout], gates: Value) -> None:
        """SiLU of h': the table's index is rounded, then clamped, a cycle each."""
        rounded_tag, squashed = tags[UPDATED + 1], tags[SQUASHED]
        counts = rounded_tag.valid & rounded_tag.role.operand & gates
        for p, table in enumerate(self.table):
            h = self.update_state.o[p]
            rounded = Signal(
                signed(self._design.value_bits + 1 - _INDEX_SHIFT),
                reset_less=True,
                name=f"rounded_{p}",
            )
            index = Signal(8, reset_less=True, name=f"state_index_{p}")
            value, over = saturate(rounded, 8)
            m.d.sync += [
                rounded.eq((h + (1 << (_INDEX_SHIFT - 1))) >> _INDEX_SHIFT),
                index.eq(value),
            ]
            m.d.comb += [
                table.address.eq(Cat(index, SILU)),
                self.saturated_state[p].eq(counts & rounded_tag.keep[p] & over),
            ]
        operands = squashed.role.operand
        m.d.comb += self.table_errors.eq(errors_of_used(m, self.table, squashed, operands, gates))

    def _gated_product(
        self, m: Module, technology: Technology, tags: data.View[data.ArrayLayout], gates: Value
    ) -> None:
        """Operand times value: in cycle READY of up, SQUASHED of g, NOISE_LATENCY of a logit."""
        product = self.gated_product
        kinds = copies(
            m,
            technology,
            Cat(self.kind == GATES_KIND, self.kind == HEAD_KIND),
            self._design.post_width,
        )
        for p, (own_gates, head) in enumerate(kinds):
            z = Timed(m, self.z[p][:8].as_signed(), first=Z, last=SQUASHED)
            value = Mux(own_gates, self.table[p].data, self.entry[p])
            operand = Signal(signed(OPERAND_BITS), name=f"operand_{p}")
            m.d.comb += operand.eq(
                Mux(head, self.temperature, Mux(own_gates, z.at(SQUASHED), z.at(READY)))
            )
            m.d.sync += [
                product.value[p].eq(Mux(head, self.noise_entry[p], value)),
                product.operand[p].eq(operand),
            ]
        # From here on cycles are those of the product: cycle 0 has its operands.
        tag = Signal.like(tags[0])
        m.d.sync += tag.eq(Mux(gates, tags[SQUASHED].as_value(), tags[READY].as_value()))
        later = Timed(m, tag, last=PRODUCT_LATENCY, reset=True)
        # Cycle PRODUCT_LATENCY - EARLY: the vector's end is announced.
        ending, done = later.at(PRODUCT_LATENCY - EARLY), later.at(PRODUCT_LATENCY)
        active = done.valid & done.role.operand
        # Cycle PRODUCT_LATENCY: u, or the noise.
        m.d.comb += [
            self.vector_done.eq(ending.valid & ending.role.operand & ending.end),
            self.write_u.group.eq(done.group),
            self.write_u.data.eq(product.u),
            self.write_u.keep.eq(done.keep),
            # A group of padding alone may lie beyond the vector's memory.
            self.write_u.enable.eq(active & done.keep[0]),
            self.saturated_product.eq(Mux(active, product.saturated & done.keep, 0)),
            self.noise.eq(product.u),
        ]
