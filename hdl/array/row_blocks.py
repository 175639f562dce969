"""Row blocks: results of the array wait here, and leave P values at a time with their tag."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.interface import BlockSums, CurrentSegment, NormScale, ScaledRows
from hdl.payloads import (
    GATES_KIND,
    GLU_KIND,
    HEAD_KIND,
    OUTPUT_KIND,
    RESULT_BLOCKS,
    ROLE,
    SHIFT_BITS,
    multiplier_bits,
)
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT

LATENCY = 4
"""Cycles from a block's arrival to its first P values, if nothing waits."""


class RowBlocks(wiring.Component):
    """Queue of row blocks, emptied P values per cycle once the segment's scale is known.

    In absmax those that elements of the next vector are made of, of g, up and residual, leave P
    values in 2^``turns`` cycles: that many products with gains each of these elements takes.

    Ports::

        sums        in   BlockSums       of the array; at most RESULT_BLOCKS row blocks may wait
        segment     in   CurrentSegment  whose row blocks they are
        scale       in   NormScale       of the vector that the segment reads
        rows        out  ScaledRows      registered, LATENCY = 4 cycles after the last group's sums
        block_done  out  1               a row block has left the queue

    One row block per R / P cycles, or 2^``turns`` times as many; the sequencer sees to it that
    there is room. After reset the queue is empty and nothing leaves.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        super().__init__(
            {
                "sums": In(BlockSums(design)),
                "segment": In(CurrentSegment(design)),
                "scale": In(NormScale(design)),
                "rows": Out(ScaledRows(design)),
                "block_done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        design, header, rows = self._design, self.segment.header, self.rows
        width, slots = design.post_width, design.groups_per_block
        absmax = design.arithmetic == "absmax"
        # Cycle 0: the last group's sums arrive. Cycle 1: they are known to wait, and may be taken.
        waiting = Signal(range(RESULT_BLOCKS + 1))
        some = Signal()
        take = Signal()
        held = Signal()
        slot = Signal(range(max(2, slots)))
        last_slot = Signal(init=slots == 1)
        turn = Signal(2)
        last_turn = Signal(init=1) if absmax else Const(1)
        ends = last_slot & last_turn if absmax else last_slot
        arrived = self.sums.valid[-1]
        m.d.comb += take.eq(some & self.scale.done & (~held | ends))
        m.d.sync += [
            waiting.eq(waiting + arrived - take),
            some.eq((waiting > 1) | arrived | ((waiting == 1) & ~take)),
            self.block_done.eq(take),
        ]
        # Cycle 3: the block itself, a cycle after its slot: its registers are too many for ``take``
        # to reach in the cycle in which it is decided.
        technology = technology_of(platform)
        held_block = self._queue(m, technology, take)

        # What is taken next; from cycle 2 on, what is held.
        matrix = Signal(range(MATRICES_PER_SEGMENT))
        block = Signal(range(max(2, design.max_blocks)))
        last_blocks = Signal.like(header.blocks)
        tail = Signal(design.rows)
        m.d.sync += [
            last_blocks.eq(header.blocks - 1),
            *(tail[r].eq(r < header.tail_rows) for r in range(design.rows)),
        ]
        role = Signal(ROLE)
        _set_role(m, role, delay(m, header.kind, 1), matrix)
        last_matrix = _ends_row_block(role)
        held_role = Signal(ROLE)
        held_last = Signal()
        held_multiplier = Signal(multiplier_bits(design))
        held_shift = Signal.like(rows.shift)
        scales = Array(self.scale.multipliers[i] for i in range(MATRICES_PER_SEGMENT))
        with m.If(take):
            m.d.sync += [
                held.eq(1),
                slot.eq(0),
                last_slot.eq(slots == 1),
                matrix.eq(Mux(last_matrix, 0, matrix + 1)),
                held_role.eq(role),
                held_last.eq(block == last_blocks),
                held_multiplier.eq(scales[matrix]),
                held_shift.eq(self._shift(matrix)),
            ]
            with m.If(last_matrix):
                m.d.sync += block.eq(block + 1)
        with m.Elif(held & last_turn if absmax else held):
            m.d.sync += [slot.eq(slot + 1), last_slot.eq(slot == slots - 2)]
            with m.If(last_slot):
                m.d.sync += held.eq(0)
        with m.If(self.segment.load):
            m.d.sync += [matrix.eq(0), block.eq(0)]
        group = self._group_number(m, take, take & last_matrix, last_turn, slot, block)
        if absmax:
            self._take_turns(m, take, role, held_role, turn, last_turn)

        self._choose(m, technology, held_block, slot)
        # Cycles 3 and 4: the tag, and with it what belongs to its values.
        tag = Signal.like(rows.tag)
        keeps = Array(tail[j * width :][:width] for j in range(slots))
        m.d.sync += [
            tag.valid.eq(held & (turn == 0) if absmax else held),
            tag.end.eq(last_slot & _ends_row_block(held_role) & held_last),
            tag.role.eq(held_role),
            tag.slot.eq(slot),
            tag.group.eq(group),
            tag.keep.eq(keeps[slot] | (~held_last).replicate(width)),
            rows.tag.eq(tag),
            rows.multiplier.eq(delay(m, held_multiplier, 1)),
            rows.shift.eq(held_shift),
        ]
        if not absmax:
            m.d.sync += rows.wide.eq(tag.role.forget | tag.role.residual | tag.role.logit)
        return m

    def _choose(self, m: Module, technology: Technology, held_block: Signal, slot: Signal) -> None:
        """Cycle 4: P sums of the block."""
        design = self._design
        width, bits = design.post_width, design.accumulator_bits
        # An Array, not word_select: Amaranth makes the latter with a $mul cell.
        for p, choice in enumerate(copies(m, technology, slot, width)):
            values = Array(
                held_block[(j * width + p) * bits :][:bits] for j in range(design.groups_per_block)
            )
            m.d.sync += self.rows.acc[p].eq(values[choice].as_signed())

    def _shift(self, matrix: Value) -> Value:
        """Of the products of a matrix."""
        if self._design.arithmetic == "absmax":
            return Array(self.scale.shifts[i] for i in range(MATRICES_PER_SEGMENT))[matrix]
        bases = Array(self.segment.header.base[i] for i in range(MATRICES_PER_SEGMENT))
        return (bases[matrix] + self.scale.exponent)[:SHIFT_BITS]

    def _take_turns(
        self, m: Module, take: Value, role: Any, held_role: Any, turn: Signal, last_turn: Signal
    ) -> None:
        """How long P values are at hand: the turns of the elements that are made of them, or 1."""
        # 2^turns - 1.
        turns = self.segment.header.turns
        most = delay(m, Cat(turns != 0, turns == 2), 1)
        of_next = Mux(role.operand | role.residual, most, 0)
        of_held = Mux(held_role.operand | held_role.residual, most, 0)
        with m.If(take):
            m.d.sync += [turn.eq(0), last_turn.eq(of_next == 0)]
        with m.Elif(last_turn):
            m.d.sync += [turn.eq(0), last_turn.eq(of_held == 0)]
        with m.Else():
            m.d.sync += [turn.eq(turn + 1), last_turn.eq(turn + 1 == of_held)]

    def _group_number(
        self,
        m: Module,
        take: Value,
        advance: Value,
        last_turn: Value,
        slot: Value,
        block: Value,
    ) -> Value:
        """Number of the group of P rows at hand, block * slots + slot, from a block's ``take`` on.

        ``advance``: with it the row block's last matrix is taken; ``last_turn``: the next group is
        at hand in the next cycle. If slots are a power of two the number is a concatenation, whose
        low bits share the registers of the slot.
        """
        slots = self._design.groups_per_block
        if slots & (slots - 1) == 0:
            held = Signal.like(block)
            with m.If(take):
                m.d.sync += held.eq(block)
            return Cat(slot[: (slots - 1).bit_length()], held)
        first, number = (Signal.like(self.rows.tag.group, name=name) for name in ("first", "group"))
        following = number + last_turn if self._design.arithmetic == "absmax" else number + 1
        m.d.sync += number.eq(Mux(take, first, following))
        with m.If(self.segment.load):
            m.d.sync += first.eq(0)
        with m.Elif(advance):
            m.d.sync += first.eq(first + slots)
        return number

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
            with m.If(self.sums.valid[group]):
                m.d.sync += write_pointer.eq(write_pointer + 1)
            own = [self.sums.acc[group * rows + row] for row in range(rows)]
            m.d.comb += [
                write.addr.eq(write_pointer),
                write.data.eq(Cat(*own)),
                write.en.eq(self.sums.valid[group]),
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
        with m.Case(GATES_KIND):
            m.d.comb += [
                role.table.eq(matrix == 0),
                role.forget.eq(matrix == 1),
                role.operand.eq(matrix == 2),
            ]
        with m.Case(GLU_KIND):
            m.d.comb += [role.table.eq(matrix == 0), role.operand.eq(matrix == 1)]
        with m.Case(OUTPUT_KIND):
            m.d.comb += role.residual.eq(1)
        with m.Case(HEAD_KIND):
            m.d.comb += role.logit.eq(1)
