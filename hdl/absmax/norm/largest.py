"""The largest elements by magnitude of the vectors that are being written."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.absmax.norm.elements import vector_words
from hdl.fabric.pipeline import delay
from hdl.interface import GroupWrite
from hdl.payloads import CUT, START_CYCLES, vector_groups
from mmfree.chip.design import Design
from mmfree.chip.header import MATRICES_PER_SEGMENT


def largest_levels(design: Design) -> int:
    """Cycles in which the elements of a group are compared with each other."""
    return (design.post_width - 1).bit_length()


class Largest(wiring.Component):
    """The largest by magnitude of up to three vectors (docs/arithmetic_absmax.md, 7).

    Ports::

        write    in   GroupWrite  writes of cut elements; what is not kept is 0
        slot     in   2           which of the vectors, with write
        load     in   1           the reading segment begins
        largest  out  3 x CUT     of each, not negative; from START_CYCLES + 1 after load on

    The largest are stable until START_CYCLES after the next load. A group counts that is written
    ``largest_levels`` + 2 cycles before they become so, or earlier. One group per cycle, never
    stalls. After reset the largest are 0.
    """

    def __init__(self, design: Design) -> None:
        self._width, self._levels = design.post_width, largest_levels(design)
        super().__init__(
            {
                "write": In(GroupWrite(design, vector_groups(design, vector_words(design)), CUT)),
                "slot": In(range(MATRICES_PER_SEGMENT)),
                "load": In(1),
                "largest": Out(data.ArrayLayout(CUT, MATRICES_PER_SEGMENT)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The bit length above the mantissa: larger numbers are larger magnitudes.
        keys: list[Value] = [Cat(v.mantissa, v.exponent) for v in self.write.data]
        # Cycle 0 and on: pairs of lanes.
        while len(keys) > 1:
            level = []
            for one, other in zip(keys[::2], keys[1::2], strict=True):
                larger = Signal(len(one), reset_less=True)
                m.d.sync += larger.eq(Mux(_exceeds(one, other), one, other))
                level.append(larger)
            keys = level
        enable = delay(m, self.write.enable, self._levels, reset=True)
        slot = delay(m, self.slot, self._levels)
        # Cycle of the levels: compared with the largest up to now.
        ended = delay(m, self.load, START_CYCLES, reset=True)
        for n in range(MATRICES_PER_SEGMENT):
            held = Signal(len(keys[0]), name=f"held_{n}")
            with m.If(enable & (slot == n) & _exceeds(keys[0], held)):
                m.d.sync += held.eq(keys[0])
            with m.If(ended):
                m.d.sync += [
                    held.eq(0),
                    Cat(self.largest[n].mantissa, self.largest[n].exponent).eq(held),
                ]
        return m


def _exceeds(one: Value, other: Value) -> Value:
    """one > other, as a borrow: of a comparison Yosys makes twice as many LUTs."""
    return (other - one)[-1]
