"""Post-processing: from accumulators to the elements that the gains meet."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.gates import Gates
from hdl.absmax.norm.elements import Elements, element_groups
from hdl.absmax.products import (
    GATES_READY,
    GLU_READY,
    NOISE_READY,
    SCALED_NOISE_BITS,
    W_BITS,
    Products,
)
from hdl.absmax.requantize import LATENCY as Z
from hdl.absmax.requantize import Z_BITS, Requantize
from hdl.absmax.sigmoid import PAIR, TABLE_PAIRS
from hdl.arithmetic.cut import Cut, cut_latency
from hdl.arithmetic.noise import NOISE_BITS
from hdl.fabric.pipeline import delay
from hdl.interface import CurrentSegment, GroupWrite, ScaledRows, VectorRead
from hdl.memory.loaded_memory import CheckedRead
from hdl.memory.parameters import ParameterRead
from hdl.payloads import (
    CUT,
    GATES_KIND,
    GLU_KIND,
    TEMPERATURE_BITS,
    head_rows,
    vector_groups,
)
from hdl.rows.logits import Logits
from hdl.rows.residual import WRITTEN, Residual
from hdl.rows.tags import hand_on
from mmfree.chip.design import Design

POST_SITES = ("projection", "residual", "logit")
"""Where values are clamped (docs/arithmetic_absmax.md, 13)."""

CUT_LATENCY = cut_latency(W_BITS)
"""Cycles from X or W to the element."""

EMBEDDING_LATENCY = 1 + CUT_LATENCY
"""Cycles from a write of the embedding to its elements."""

ELEMENTS = {
    "gates": GATES_READY + CUT_LATENCY,
    "output": Z + WRITTEN + CUT_LATENCY,
    "glu": GLU_READY + CUT_LATENCY,
    "down": Z + WRITTEN + CUT_LATENCY,
}
"""Kind of a segment -> cycle of its elements, counted from their tag's."""


class Post(wiring.Component):
    """Takes P accumulators at a time through the operation of their segment.

    ::

        rows -> Requantize -> z --+-> Residual <-> x ----------------+            (o, down)
                                  +-> Gates <-> table, bound --+     |            (i, f, gate)
                                  +-> Products <-> table, state, noise --> W, or X --> Cut
                                  +-> Logits --> row                 (g, up)        |
                                                                                    v
                                                                                 elements

    Every value has a cycle, counted from that of its accumulator and tag; each block takes the tags
    of all the cycles that it needs, and says in which cycle it gives what.

    Ports::

        rows           in   ScaledRows         P accumulators with their tag: cycle 0
        segment        in   CurrentSegment     whose rows they are
        begin          in   1                  the token's flag: h reads as 0
        restart        in   1                  a token begins: state and Argmax from the start
        noise_entry    in   P x signed(14)     of Noise, NOISE_LATENCY cycles after a logit's tag
        temperature    in   8                  in 64ths, stable while a token is played
        embedding      in   GroupWrite         writes of x at a token's start, passed on
        embedding_end  in   1                  with the last of them
        x              out  VectorRead         the residual's group
        bound          out  ParameterRead      lower bounds of f, in order
        table          out  2P x CheckedRead   the sigmoid: P for Gates, P for Products
        state          out  VectorRead         h, in order
        write_x        out  GroupWrite         of the residual
        write_u        out  GroupWrite         of W: CUT, for simulations; with elements
        write_state    out  GroupWrite         of h'
        write_logits   out  GroupWrite         of the head
        elements       out  Elements           of X or W, cycle ELEMENTS of their segment
        logits_done    out  1                  the row is chosen
        row            out  head_rows          that of the largest key, stable from then on
        saturations    out  P flags by site    values that were clamped
        table_errors   out  2P                 flags: an entry that was used has a parity error

    P values per cycle, of the last matrix of a row block as Elements says; never stalls. After
    reset nothing is in progress.
    """

    def __init__(self, design: Design) -> None:
        width = design.post_width
        x_groups = vector_groups(design, design.embedding_tiles)
        logit_groups = design.max_blocks * design.groups_per_block
        super().__init__(
            {
                "rows": In(ScaledRows(design)),
                "segment": In(CurrentSegment(design)),
                "begin": In(1),
                "restart": In(1),
                "noise_entry": In(data.ArrayLayout(signed(NOISE_BITS), width)),
                "temperature": In(TEMPERATURE_BITS),
                "embedding": In(GroupWrite(design, x_groups)),
                "embedding_end": In(1),
                "x": Out(VectorRead(design, x_groups, width)),
                "bound": Out(ParameterRead(design)),
                "table": Out(CheckedRead(TABLE_PAIRS, PAIR)).array(2 * width),
                "state": Out(VectorRead(design, design.state_words, width)),
                "write_x": Out(GroupWrite(design, x_groups)),
                "write_u": Out(GroupWrite(design, element_groups(design), CUT)),
                "write_state": Out(GroupWrite(design, design.state_words)),
                "write_logits": Out(GroupWrite(design, logit_groups)),
                "elements": Out(Elements(design)),
                "logits_done": Out(1),
                "row": Out(head_rows(design)),
                "saturations": Out(data.StructLayout(dict.fromkeys(POST_SITES, width))),
                "table_errors": Out(2 * width),
            }
        )
        self._width = width
        self.requantize = Requantize(design.accumulator_bits, width)
        self.residual = Residual(design, z_bits=Z_BITS, ready=Z, early=0)
        self.gates = Gates(design)
        self.products = Products(design)
        self.logits = Logits(
            design,
            z_bits=Z_BITS,
            noise_bits=SCALED_NOISE_BITS,
            ready=Z,
            noise_ready=NOISE_READY,
        )
        self.value_cut = Cut(W_BITS, width)
        self.base_cut = Cut(Z_BITS, width)

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
            requantize.factor.eq(rows.multiplier),
            requantize.shift.eq(rows.shift),
        ]
        blocks = (residual, gates, products, logits)
        tags = hand_on(m, rows.tag, requantize.z, blocks, last=Z + WRITTEN)
        m.d.comb += [
            products.kind.eq(header.kind),
            products.begin.eq(self.begin),
            products.restart.eq(self.restart),
            products.entry.eq(gates.entry),
            products.load.eq(gates.load),
            products.noise_entry.eq(self.noise_entry),
            products.temperature.eq(self.temperature),
            logits.noise.eq(products.noise),
            logits.restart.eq(self.restart),
        ]
        self._connect_memories(m)
        self._cut(m, tags.at(Z + WRITTEN))
        m.d.comb += [
            self.logits_done.eq(logits.done),
            self.row.eq(logits.row),
            self.table_errors[: self._width].eq(gates.table_errors),
            self.table_errors[self._width :].eq(products.table_errors),
        ]
        self._count_saturations(m, tags.at(Z))
        return m

    def _connect_memories(self, m: Module) -> None:
        residual, gates, products = self.residual, self.gates, self.products
        wiring.connect(m, wiring.flipped(self.embedding), residual.embedding)
        wiring.connect(m, wiring.flipped(self.x), residual.x)
        wiring.connect(m, wiring.flipped(self.bound), gates.bound)
        wiring.connect(m, wiring.flipped(self.state), products.state)
        for mine, inner in zip(self.table, [*gates.table, *products.table], strict=True):
            wiring.connect(m, wiring.flipped(mine), inner)
        for mine, write in (
            (self.write_x, residual.write),
            (self.write_state, products.write_state),
            (self.write_logits, self.logits.write),
        ):
            wiring.connect(m, wiring.flipped(mine), write)

    def _cut(self, m: Module, written: data.View[data.StructLayout]) -> None:
        """Elements of what is written to x, in the cycle of ``written``; or of W."""
        value_cut = m.submodules.value_cut = self.value_cut
        base_cut = m.submodules.base_cut = self.base_cut
        residual, products, elements = self.residual, self.products, self.elements
        gates, wide = Signal(), Signal()
        kind = self.segment.header.kind
        m.d.sync += [
            gates.eq(kind == GATES_KIND),
            wide.eq((kind == GATES_KIND) | (kind == GLU_KIND)),
        ]
        # Cycle 0: X, of the residual or of the embedding, or W.
        tag, write = products.tag, residual.write
        summed = written.valid & written.role.residual
        embedded = delay(m, self.embedding.enable, 1, reset=True)
        ended = delay(m, self.embedding.enable & self.embedding_end, 1, reset=True)
        multiplied = tag.valid & tag.role.operand
        group = Signal.like(elements.group)
        m.d.comb += group.eq(Mux(wide, tag.group, Mux(summed, written.group, write.group)))
        keep = Mux(wide, tag.keep, write.keep)
        valid = Mux(wide, multiplied, summed | embedded)
        end = Mux(wide, tag.end, residual.vector_done | ended)
        for p in range(self._width):
            m.d.comb += [
                value_cut.value[p].eq(Mux(wide, products.w[p], write.data[p])),
                base_cut.value[p].eq(products.operand[p]),
            ]
        # Cycle CUT_LATENCY: the elements.
        bases = delay(m, base_cut.o, CUT_LATENCY - cut_latency(Z_BITS))
        m.d.comb += [
            elements.valid.eq(delay(m, valid, CUT_LATENCY, reset=True)),
            elements.end.eq(delay(m, end, CUT_LATENCY)),
            elements.group.eq(delay(m, group, CUT_LATENCY)),
            elements.keep.eq(delay(m, keep, CUT_LATENCY)),
            elements.value.eq(value_cut.o),
            elements.base.as_value().eq(Mux(gates, bases.as_value(), value_cut.o.as_value())),
            self.write_u.group.eq(elements.group),
            self.write_u.keep.eq(elements.keep),
            self.write_u.enable.eq(elements.valid & elements.keep[0] & wide),
            self.write_u.data.eq(elements.value),
        ]

    def _count_saturations(self, m: Module, tag: data.View[data.StructLayout]) -> None:
        # Cycle Z: z was clamped, or not.
        over = Mux(tag.valid, self.requantize.saturated & tag.keep, 0)
        m.d.comb += [
            self.saturations.projection.eq(Mux(tag.role.logit, 0, over)),
            self.saturations.logit.eq(Mux(tag.role.logit, over, 0)),
            self.saturations.residual.eq(self.residual.saturated),
        ]
