"""Row blocks: results of the array wait here, and leave P values at a time with their tag."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.requantize import SHIFT_BITS
from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.interface import GATES, GLU, HEAD, OUTPUT, RESULT_BLOCKS, ROLE, header_layout, tag_layout
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT

LATENCY = 4
"""Cycles from a block's arrival to its first P values, if nothing waits."""


class RowBlocks(wiring.Component):
    """Queue of row blocks, emptied P values per cycle once the segment's scale is known.

    Ports: ``block_valid``, ``block`` (R accumulators, those of a group of rows with its flag; at
    most RESULT_BLOCKS wait, the sequencer ensures it); ``header`` (stable during a segment),
    ``load`` (the header is new from the next cycle on), ``scale_done``, ``scale``, ``exponent`` (of
    RMSNorm); ``tag``, ``acc`` (P accumulators), ``multiplier``, ``wide``: registered, for
    Requantize; ``shift``: likewise, but a cycle earlier; ``block_done``: a block has left the
    queue. One block per R / P cycles, LATENCY = 4 cycles after the last group's arrival. After
    reset the queue is empty and ``tag.valid`` 0.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        acc = signed(design.accumulator_bits)
        super().__init__(
            {
                "block_valid": In(design.num_groups),
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
        waiting = Signal(range(RESULT_BLOCKS + 1))
        some = Signal()
        take, held, slot = Signal(), Signal(), Signal(range(max(2, slots)))
        last_slot = Signal(init=slots == 1)
        arrived = self.block_valid[-1]
        m.d.comb += take.eq(some & self.scale_done & (~held | last_slot))
        m.d.sync += [
            waiting.eq(waiting + arrived - take),
            some.eq((waiting > 1) | arrived | ((waiting == 1) & ~take)),
            self.block_done.eq(take),
        ]
        # The block itself follows a cycle later: its registers are too many for ``take`` to reach
        # in the cycle in which it is decided.
        technology = technology_of(platform)
        held_block = self._queue(m, technology, take)
        multiplier_now = Signal(9, reset_less=True)

        # What is taken out next, and what is held.
        matrix, block = (
            Signal(range(MATRICES_PER_SEGMENT)),
            Signal(range(max(2, design.max_blocks))),
        )
        last_blocks, tail = Signal.like(header.blocks), Signal(design.rows)
        m.d.sync += last_blocks.eq(header.blocks - 1)
        m.d.sync += [tail[r].eq(r < header.tail_rows) for r in range(design.rows)]
        role = Signal(ROLE)
        _set_role(m, role, delay(m, header.kind, 1), matrix)
        last_matrix = _ends_row_block(role)
        held_role, held_last, held_group = Signal(ROLE), Signal(), Signal.like(block)
        held_multiplier, held_shift = Signal(9), Signal.like(self.shift)
        bases = Array(header[f"base{i}"] for i in range(MATRICES_PER_SEGMENT))
        scales = Array(self.scale[i] for i in range(MATRICES_PER_SEGMENT))
        with m.If(take):
            m.d.sync += [
                held.eq(1),
                slot.eq(0),
                last_slot.eq(slots == 1),
                matrix.eq(Mux(last_matrix, 0, matrix + 1)),
                held_role.eq(role),
                held_last.eq(block == last_blocks),
                held_group.eq(block),
                held_multiplier.eq(scales[matrix]),
                held_shift.eq((bases[matrix] + self.exponent)[:SHIFT_BITS]),
            ]
            with m.If(last_matrix):
                m.d.sync += block.eq(block + 1)
        with m.Elif(held):
            m.d.sync += [slot.eq(slot + 1), last_slot.eq(slot == slots - 2)]
            with m.If(last_slot):
                m.d.sync += held.eq(0)
        with m.If(self.load):
            m.d.sync += [matrix.eq(0), block.eq(0)]

        # An Array, not word_select: Amaranth makes the latter with a $mul cell.
        for p, choice in enumerate(copies(m, technology, slot, width)):
            values = Array(
                held_block[(j * width + p) * design.accumulator_bits :][: design.accumulator_bits]
                for j in range(slots)
            )
            m.d.sync += self.acc[p].eq(values[choice].as_signed())
        keeps = Array(tail[j * width :][:width] for j in range(slots))
        tag = Signal.like(self.tag)
        m.d.sync += [
            tag.valid.eq(held),
            tag.end.eq(last_slot & _ends_row_block(held_role) & held_last),
            tag.role.eq(held_role),
            tag.slot.eq(slot),
            tag.group.eq(Cat(slot[: (slots - 1).bit_length()], held_group)),
            tag.keep.eq(keeps[slot] | (~held_last).replicate(width)),
            self.tag.eq(tag),
            multiplier_now.eq(held_multiplier),
            self.multiplier.eq(multiplier_now),
            self.shift.eq(held_shift),
            self.wide.eq(tag.role.forget | tag.role.residual | tag.role.logit),
        ]
        return m

    def _queue(self, m: Module, technology: Technology, take: Value) -> Signal:
        """The block that was taken out of the queue in the cycle before.

        Each group of rows has its own distributed RAM, for its results arrive in their own cycle.
        """
        design = self._design
        rows, bits = design.group_rows, design.group_rows * design.accumulator_bits
        read_pointer = Signal(range(RESULT_BLOCKS))
        held = Signal(design.rows * design.accumulator_bits, reset_less=True)
        with m.If(take):
            m.d.sync += read_pointer.eq(read_pointer + 1)
        takes = copies(m, technology, take, design.num_groups)
        pointers = copies(m, technology, read_pointer, design.num_groups)
        for group in range(design.num_groups):
            words = memory.Memory(shape=unsigned(bits), depth=RESULT_BLOCKS, init=[])
            m.submodules[f"queue_{group}"] = words
            write, read = words.write_port(), words.read_port(domain="comb")
            write_pointer = Signal(range(RESULT_BLOCKS), name=f"write_pointer_{group}")
            with m.If(self.block_valid[group]):
                m.d.sync += write_pointer.eq(write_pointer + 1)
            own = [self.block[group * rows + row] for row in range(rows)]
            m.d.comb += [
                write.addr.eq(write_pointer),
                write.data.eq(Cat(*own)),
                write.en.eq(self.block_valid[group]),
                read.addr.eq(pointers[group]),
            ]
            with m.If(takes[group]):
                m.d.sync += held[group * bits : (group + 1) * bits].eq(read.data)
        return held


def _ends_row_block(role: data.View[Any]) -> Value:
    """Whether the role is that of the last matrix of a row block."""
    return ~(role.table | role.forget)


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
