"""The registers that say where an external memory holds the image."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.interface import MemorySettings
from mmfree.chip.design import Design
from mmfree.chip.external_memory import ADDRESS_BITS, PAGE_BYTES

PAGE_ADDRESS_BITS = (PAGE_BYTES - 1).bit_length()
"""Bits of an address that are 0 where a region begins."""


class Settings(wiring.Component):
    """What a host has written of MemorySettings.

    Ports::

        write      in   MemorySettings   from the next cycle on
        regions    out  G + 1 addresses  first byte of each; what it is beyond a page is taken as 0
        last_word  out  range(words)     words of a pass, minus 1
        complete   out  1                all entries are written, each with a value that may be

    A write per cycle, never refused. After reset nothing counts as written; the values stay as they
    are, because a reader, which that reset does not reach, may be taking them over.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        regions = design.num_groups + 1
        super().__init__(
            {
                "write": In(MemorySettings(design)),
                "regions": Out(data.ArrayLayout(ADDRESS_BITS, regions)),
                "last_word": Out(range(max(2, design.weight_words))),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write, num_regions = self.write, self._design.num_groups + 1
        pages = data.ArrayLayout(ADDRESS_BITS - PAGE_ADDRESS_BITS, num_regions)
        page = Signal(pages, reset_less=True)
        last_word = Signal.like(self.last_word, reset_less=True)
        written = Signal(num_regions + 1)
        with m.If(write.enable):
            for region in range(num_regions):
                with m.If(write.index == region):
                    m.d.sync += [
                        page[region].eq(write.value[PAGE_ADDRESS_BITS:]),
                        written[region].eq(1),
                    ]
            with m.If(write.index == num_regions):
                possible = (write.value != 0) & (write.value <= self._design.weight_words)
                m.d.sync += [last_word.eq(write.value - 1), written[num_regions].eq(possible)]
        m.d.comb += [self.complete.eq(written.all()), self.last_word.eq(last_word)]
        for region in range(num_regions):
            m.d.comb += self.regions[region].eq(Cat(Const(0, PAGE_ADDRESS_BITS), page[region]))
        return m
