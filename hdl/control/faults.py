"""Faults of a pass: what was found first, and where."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.fabric.pipeline import delay
from hdl.interface import FirstFault
from hdl.payloads import found_layout
from mmfree.chip.design import Design
from mmfree.chip.memory_map import fault_memories

_ROW_FAULTS = ("embedding_response", "embedding_timeout")


class Faults(wiring.Component):
    """Keeps the first fault of a pass; of several in one cycle, that of the lowest memory.

    Ports::

        found      in   found_layout    flags: a word of the memory was used and is not right
        segment    in   range(headers)  entry of the segment table in progress
        delivered  in   range(headers)  that of a word with found.weights_response
        checked    in   1               the next check word was examined; with found.weights
        clear      in   1               a token begins
        faults     out  FirstFault      two cycles after found

    ``delivered`` counts with an external memory only. After reset there is no fault.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        segments = range(design.header_words + 1)
        super().__init__(
            {
                "found": In(found_layout(design)),
                "segment": In(segments),
                "delivered": In(segments),
                "checked": In(1),
                "clear": In(1),
                "faults": Out(FirstFault(design)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Cycle 0: what was found. Cycle 1: which of it counts.
        found = delay(m, self.found, 1, reset=True)
        # Check words come in the order of the segments; the embedding has one if parameters come in
        # records.
        external = self._design.external is not None
        parameters = external or self._design.arithmetic == "absmax"
        examined = Signal.like(self.segment, init=int(not parameters))
        with m.If(self.clear):
            m.d.sync += examined.eq(examined.init)
        with m.Elif(self.checked):
            m.d.sync += examined.eq(examined + 1)
        segment = delay(m, self.segment, 1)
        # A segment's check word is examined when the next segment may have begun.
        segments: dict[str, Value] = {"weights": delay(m, examined, 1)}
        if external:
            segments["weights_response"] = delay(m, self.delivered, 1)
            # The rest of a row may come long after its vector.
            segments |= {name: Const(0) for name in ("embedding", *_ROW_FAULTS)}
        first = Signal(self.faults.first.shape())
        m.d.comb += first.segment.eq(segment)
        for index, name in reversed(list(enumerate(fault_memories(self._design)))):
            with m.If(found[name]):
                m.d.comb += [first.memory.eq(index), first.segment.eq(segments.get(name, segment))]
        with m.If(found.as_value().any() & ~self.faults.any):
            m.d.sync += [self.faults.any.eq(1), self.faults.first.eq(first)]
        with m.If(self.clear):
            m.d.sync += self.faults.any.eq(0)
        return m
