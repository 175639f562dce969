"""Faults of a pass: what was found first, and where."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import fault_layout
from mmfree.chip.design import Design
from mmfree.chip.memory_map import LOADED_MEMORIES


class Faults(wiring.Component):
    """Keeps the first fault of a pass; of several in one cycle, that of the lowest memory.

    Ports: ``found_MEMORY`` (flags), ``segment`` (in progress), ``weight_segment`` (that whose check
    word was examined); ``clear`` (a token begins); ``any``, ``first``, two cycles later.
    """

    def __init__(self, design: Design) -> None:
        segments = range(design.header_words + 1)
        super().__init__(
            {
                **{f"found_{name}": In(1) for name in LOADED_MEMORIES},
                "segment": In(segments),
                "weight_segment": In(segments),
                "clear": In(1),
                "any": Out(1),
                "first": Out(fault_layout(design)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flags = Cat(getattr(self, f"found_{name}") for name in LOADED_MEMORIES)
        found = delay(m, flags, 1, reset=True)
        segment, weight_segment = delay(m, self.segment, 1), delay(m, self.weight_segment, 1)
        first = Signal(self.first.shape())
        m.d.comb += first.segment.eq(segment)
        for index, flag in reversed(list(enumerate(found))):
            with m.If(flag):
                m.d.comb += first.memory.eq(index)
        # A segment's check word is examined when the next segment may have begun.
        with m.If(found[LOADED_MEMORIES.index("weights")]):
            m.d.comb += first.segment.eq(weight_segment)
        with m.If(found.any() & ~self.any):
            m.d.sync += [self.any.eq(1), self.first.eq(first)]
        with m.If(self.clear):
            m.d.sync += self.any.eq(0)
        return m
