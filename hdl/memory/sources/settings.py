"""The registers that say where an external memory holds the image."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
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

    A write per cycle, never refused. After reset nothing is written.
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
        index, value = self.write.index, self.write.value
        regions = self._design.num_groups + 1
        written = Signal(regions + 1)
        m.d.comb += self.complete.eq(written.all())
        with m.If(self.write.enable):
            for region in range(regions):
                with m.If(index == region):
                    m.d.sync += [
                        self.regions[region][PAGE_ADDRESS_BITS:].eq(value[PAGE_ADDRESS_BITS:]),
                        written[region].eq(1),
                    ]
            with m.If(index == regions):
                possible = (value != 0) & (value <= self._design.weight_words)
                m.d.sync += [self.last_word.eq(value - 1), written[regions].eq(possible)]
        return m
