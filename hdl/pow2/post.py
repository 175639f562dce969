"""Post-processing: from accumulators to the vector that the next segment reads."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.noise import NOISE_BITS
from hdl.arithmetic.requantize import LATENCY as Z
from hdl.arithmetic.requantize import Z_BITS, Requantize
from hdl.interface import CurrentSegment, GroupWrite, ScaledRows, VectorRead
from hdl.memory.loaded_memory import CheckedRead
from hdl.payloads import EARLY, TEMPERATURE_BITS, head_rows, vector_groups
from hdl.pow2.forget_gate import ENTRY_BITS, TABLE_WORDS
from hdl.pow2.gates import Gates
from hdl.pow2.products import NOISE_READY, Products
from hdl.rows.logits import Logits
from hdl.rows.residual import WRITTEN, Residual
from hdl.rows.tags import hand_on
from mmfree.chip.design import Design
from mmfree.contract.pow2 import SATURATION_SITES

POST_SITES = tuple(site for site in SATURATION_SITES if site != "quantizer")

RESIDUAL_WRITTEN = Z + WRITTEN
"""Cycle, counted from the tag's: the write of x + y."""


class Post(wiring.Component):
    """Takes P accumulators per cycle through the operation of their segment.

    ::

        rows -> Requantize -> z --+-> Residual <-> x                              (o, down)
                                  +-> Gates <-> tables, biases --+                (i, f, gate)
                                  +-> Products <-> tables, state, noise --> u     (g, up)
                                  +-> Logits --> row                              (head)

    Every value has a cycle, counted from that of its accumulator and tag; each block takes the tags
    of all the cycles that it needs, and says in which cycle it gives what.

    Ports::

        rows          in   ScaledRows         P accumulators with their tag: cycle 0
        segment       in   CurrentSegment     whose rows they are
        begin         in   1                  the token's flag: h reads as 0
        restart       in   1                  a token begins: biases, state, Argmax from the start
        noise_entry   in   P x signed(14)     of Noise, NOISE_LATENCY cycles after a logit's tag
        temperature   in   8                  in 64ths, stable while a token is played
        embedding     in   GroupWrite         writes of x at a token's start, passed on
        x             out  VectorRead         the residual's group
        bias          out  CheckedRead        of f, in order
        table         out  2P x CheckedRead   P for Gates, P for Products
        state         out  VectorRead         h, in order
        write_x       out  GroupWrite         of the residual
        write_u       out  GroupWrite         of g * SiLU(h'), or up * SiLU(gate)
        write_state   out  GroupWrite         of h'
        write_logits  out  GroupWrite         of the head
        vector_done   out  1                  x or u is complete EARLY cycles later
        logits_done   out  1                  the row is chosen
        row           out  head_rows          that of the largest key, stable from then on
        saturations   out  P flags by site     values that were clamped
        bias_error    out  1                  a word of biases that was used has a parity error
        table_errors  out  2P                 flags: likewise, entries

    P values per cycle, never stalls. After reset nothing is in progress.
    """

    def __init__(self, design: Design) -> None:
        width = design.post_width
        x_groups = vector_groups(design, design.embedding_tiles)
        bias = data.ArrayLayout(signed(16), width)
        super().__init__(
            {
                "rows": In(ScaledRows(design)),
                "segment": In(CurrentSegment(design)),
                "begin": In(1),
                "restart": In(1),
                "noise_entry": In(data.ArrayLayout(signed(NOISE_BITS), width)),
                "temperature": In(TEMPERATURE_BITS),
                "embedding": In(GroupWrite(design, x_groups)),
                "x": Out(VectorRead(design, x_groups, width)),
                "bias": Out(CheckedRead(design.bias_words, bias)),
                "table": Out(CheckedRead(TABLE_WORDS, signed(ENTRY_BITS))).array(2 * width),
                "state": Out(VectorRead(design, design.state_words, width)),
                "write_x": Out(GroupWrite(design, x_groups)),
                "write_u": Out(GroupWrite(design, vector_groups(design, design.max_tiles))),
                "write_state": Out(GroupWrite(design, design.state_words)),
                "write_logits": Out(
                    GroupWrite(design, design.max_blocks * design.groups_per_block)
                ),
                "vector_done": Out(1),
                "logits_done": Out(1),
                "row": Out(head_rows(design)),
                "saturations": Out(data.StructLayout(dict.fromkeys(POST_SITES, width))),
                "bias_error": Out(1),
                "table_errors": Out(2 * width),
            }
        )
        self._width, self._external = width, design.external is not None
        self.requantize = Requantize(design.accumulator_bits, width)
        self.residual = Residual(design, z_bits=Z_BITS, ready=Z, early=EARLY)
        self.gates = Gates(design)
        self.products = Products(design)
        self.logits = Logits(
            design,
            z_bits=Z_BITS,
            noise_bits=design.value_bits,
            ready=Z,
            noise_ready=NOISE_READY,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        requantize = m.submodules.requantize = self.requantize
        residual, gates = self.residual, self.gates
        products, logits = self.products, self.logits
        m.submodules.residual, m.submodules.gates = residual, gates
        m.submodules.products, m.submodules.logits = products, logits
        rows, header = self.rows, self.segment.header
        m.d.comb += [
            requantize.acc.eq(rows.acc),
            requantize.scale.eq(rows.multiplier),
            requantize.shift.eq(rows.shift),
            requantize.wide.eq(rows.wide),
        ]
        blocks = (residual, gates, products, logits)
        # An external memory's biases are those of one layer.
        biases_again = self.segment.load if self._external else Const(0)
        tags = hand_on(m, rows.tag, requantize.z, blocks)
        m.d.comb += [
            gates.gate.eq(header.gate),
            gates.restart.eq(self.restart | biases_again),
            products.kind.eq(header.kind),
            products.begin.eq(self.begin),
            products.restart.eq(self.restart),
            products.entry.eq(gates.entry),
            products.forget.eq(gates.forget),
            products.noise_entry.eq(self.noise_entry),
            products.temperature.eq(self.temperature),
            logits.noise.eq(products.noise),
            logits.restart.eq(self.restart),
        ]
        self._connect_memories(m)
        m.d.comb += [
            self.vector_done.eq(residual.vector_done | products.vector_done),
            self.logits_done.eq(logits.done),
            self.row.eq(logits.row),
            self.bias_error.eq(gates.bias_error),
            self.table_errors[: self._width].eq(gates.table_errors),
            self.table_errors[self._width :].eq(products.table_errors),
        ]
        self._count_saturations(m, tags.at(Z))
        return m

    def _connect_memories(self, m: Module) -> None:
        residual, gates, products = self.residual, self.gates, self.products
        wiring.connect(m, wiring.flipped(self.embedding), residual.embedding)
        wiring.connect(m, wiring.flipped(self.x), residual.x)
        wiring.connect(m, wiring.flipped(self.bias), gates.bias)
        wiring.connect(m, wiring.flipped(self.state), products.state)
        for mine, inner in zip(self.table, [*gates.table, *products.table], strict=True):
            wiring.connect(m, wiring.flipped(mine), inner)
        for mine, write in (
            (self.write_x, residual.write),
            (self.write_u, products.write_u),
            (self.write_state, products.write_state),
            (self.write_logits, self.logits.write),
        ):
            wiring.connect(m, wiring.flipped(mine), write)

    def _count_saturations(self, m: Module, tag: data.View[data.StructLayout]) -> None:
        # Cycle Z: z was clamped, or not.
        over = Mux(tag.valid, self.requantize.saturated & tag.keep, 0)
        m.d.comb += [
            self.saturations.projection.eq(Mux(tag.role.logit, 0, over)),
            self.saturations.logit.eq(Mux(tag.role.logit, over, 0)),
            self.saturations.residual.eq(self.residual.saturated),
            self.saturations.gate.eq(self.gates.saturated),
            self.saturations.state.eq(self.products.saturated_state),
            self.saturations.product.eq(self.products.saturated_product),
        ]
