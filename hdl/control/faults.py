"""Faults of a pass: what was found first, and where."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import FirstFault
from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES

FOUND = data.StructLayout(dict.fromkeys(LOADED_MEMORIES, 1))
"""A flag for each memory that is checked."""


class Faults(wiring.Component):
    """Keeps the first fault of a pass; of several in one cycle, that of the lowest memory.

    Ports::

        found    in   FOUND           flags: a word of the memory was used and is not right
        segment  in   range(headers)  entry of the segment table in progress
        checked  in   1               the next segment's check word was examined; with found.weights
        clear    in   1               a token begins
        faults   out  FirstFault      two cycles after found

    After reset there is no fault.
    """

    def __init__(self, design: Design) -> None:
        segments = range(design.header_words + 1)
        super().__init__(
            {
                "found": In(FOUND),
                "segment": In(segments),
                "checked": In(1),
                "clear": In(1),
                "faults": Out(FirstFault(design)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 0: what was found. Cycle 1: which of it counts.
        found = delay(m, self.found, 1, reset=True)
        # Check words come in the order of the segments.
        examined = Signal.like(self.segment, init=1)
        with m.If(self.clear):
            m.d.sync += examined.eq(1)
        with m.Elif(self.checked):
            m.d.sync += examined.eq(examined + 1)
        segment, weight_segment = delay(m, self.segment, 1), delay(m, examined, 1)
        first = Signal(self.faults.first.shape())
        m.d.comb += first.segment.eq(segment)
        for index, name in reversed(list(enumerate(LOADED_MEMORIES))):
            with m.If(found[name]):
                m.d.comb += first.memory.eq(index)
        # A segment's check word is examined when the next segment may have begun.
        with m.If(found.weights):
            m.d.comb += first.segment.eq(weight_segment)
        with m.If(found.as_value().any() & ~self.faults.any):
            m.d.sync += [self.faults.any.eq(1), self.faults.first.eq(first)]
        with m.If(self.clear):
            m.d.sync += self.faults.any.eq(0)
        return m
