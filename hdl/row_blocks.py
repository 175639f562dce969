"""Row blocks: waiting results of the array, handed on P values at a time with what they are."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from hdl.requantize import SHIFT_BITS
from hdl.sequencer import RESULT_BLOCKS, header_layout
from mmfree.design import KIND_CODES, MATRICES_PER_SEGMENT, Design

GATES, GLU, HEAD, OUTPUT = (KIND_CODES[kind] for kind in ("gates", "glu", "head", "output"))


ROLE = data.StructLayout({"table": 1, "forget": 1, "operand": 1, "residual": 1, "logit": 1})
"""What becomes of P values; exactly one flag is set.

``table``: i or gate, to a SiLU entry; ``forget``: f; ``operand``: g or up, the last of its block; ``residual``: o or down; ``logit``: the head.
"""


def tag_layout(design: Design) -> data.StructLayout:
    """What accompanies P values: their role, place, and which are rows of the matrix (``keep``), not padding."""
    return data.StructLayout(
        {
            "valid": 1,
            "end": 1,
            "role": ROLE,
            "keep": design.post_width,
            "slot": range(max(2, design.groups_per_block)),
            "group": range(max(2, design.max_blocks * design.groups_per_block)),
        }
    )


class RowBlocks(wiring.Component):
    """Queue of row blocks, emptied P values per cycle once the segment's scale is known.

    Ports: ``block_valid``, ``block`` (R accumulators; at most RESULT_BLOCKS wait, the sequencer sees to it); ``header`` (steady during a segment), ``load``
    (start of a segment), ``scale_done``, ``scale``, ``exponent`` (of RMSNorm); ``tag``, ``acc`` (P accumulators), ``multiplier``, ``shift``, ``wide``: registered,
    for Requantize; ``block_done``: a block has been emptied.
    One block per R / P cycles, one cycle of latency. After reset the queue is empty and ``tag.valid`` 0.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        acc = signed(design.accumulator_bits)
        super().__init__(
            {
                "block_valid": In(1),
                "block": In(data.ArrayLayout(acc, design.rows)),
                "header": In(header_layout(design)),
                "load": In(1),
                "scale_done": In(1),
                "scale": In(data.ArrayLayout(unsigned(9), MATRICES_PER_SEGMENT)),
                "exponent": In(4),
                "tag": Out(tag_layout(design)),
                "acc": Out(data.ArrayLayout(acc, design.post_width)),
                "multiplier": Out(9),
                "shift": Out(SHIFT_BITS),
                "wide": Out(1),
                "block_done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design, header = self._design, self.header
        width, slots = design.post_width, design.groups_per_block
        queue_bits = design.rows * design.accumulator_bits
        m.submodules.queue = queue = fifo.SyncFIFO(width=queue_bits, depth=RESULT_BLOCKS)
        m.d.comb += [queue.w_en.eq(self.block_valid), queue.w_data.eq(self.block.as_value())]

        tag = self.tag
        slot = Signal.like(tag.slot)
        matrix = Signal(range(MATRICES_PER_SEGMENT))
        block = Signal(range(max(2, design.max_blocks)))
        group = Signal.like(tag.group)
        role = Signal(ROLE)
        _set_role(m, role, header.kind, matrix)
        take = queue.r_rdy & self.scale_done
        last_slot = slot == slots - 1
        last_matrix = ~(role.table | role.forget)
        last_block = block == header.blocks - 1
        m.d.comb += [queue.r_en.eq(take & last_slot), self.block_done.eq(take & last_slot)]
        with m.If(take):
            m.d.sync += slot.eq(Mux(last_slot, 0, slot + 1))
            with m.If(last_slot):
                m.d.sync += matrix.eq(Mux(last_matrix, 0, matrix + 1))
                with m.If(last_matrix):
                    m.d.sync += [block.eq(block + 1), group.eq(group + slots)]
        with m.If(self.load):
            m.d.sync += [slot.eq(0), matrix.eq(0), block.eq(0), group.eq(0)]

        # An Array, not word_select: Amaranth makes the latter with a $mul cell.
        group_bits = width * design.accumulator_bits
        groups = Array(queue.r_data[j * group_bits :][:group_bits] for j in range(slots))
        bases = Array(header[f"base{i}"] for i in range(MATRICES_PER_SEGMENT))
        scales = Array(self.scale[i] for i in range(MATRICES_PER_SEGMENT))
        m.d.sync += [
            tag.valid.eq(take),
            tag.end.eq(last_slot & last_matrix & last_block),
            tag.role.eq(role),
            tag.slot.eq(slot),
            tag.group.eq(group + slot),
            self.acc.as_value().eq(groups[slot]),
            self.multiplier.eq(scales[matrix]),
            self.shift.eq((bases[matrix] + self.exponent)[:SHIFT_BITS]),
            self.wide.eq(role.forget | role.residual | role.logit),
        ]
        for j in range(slots):
            for p in range(width):
                with m.If(slot == j):
                    row = Const(j * width + p)
                    m.d.sync += tag.keep[p].eq(~last_block | (row < header.tail_rows))
        return m


def _set_role(m: Module, role: data.View[Any], kind: Value, matrix: Value) -> None:
    with m.Switch(kind):
        with m.Case(GATES):
            m.d.comb += [
                role.table.eq(matrix == 0),
                role.forget.eq(matrix == 1),
                role.operand.eq(matrix == 2),
            ]
        with m.Case(GLU):
            m.d.comb += [role.table.eq(matrix == 0), role.operand.eq(matrix == 1)]
        with m.Case(OUTPUT):
            m.d.comb += role.residual.eq(1)
        with m.Case(HEAD):
            m.d.comb += role.logit.eq(1)
