"""LUT4 per weight of decoders for ternary codes, on the ECP5: a Yosys estimate.

python -m tools.measure.decoders
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace

from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.array.decoder import Decoder
from hdl.toolchain.audit import ecp5_cells, luts
from mmfree.chip.weight_codes import WEIGHT_CODES
from tools.measure.array_area import array_design


class BaseThree(wiring.Component):
    """Five trits as one number to the base 3: what the chip does not use."""

    def __init__(self) -> None:
        super().__init__({"word": In(8), "o": Out(10)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = Signal(10)
        m.d.sync += self.o.eq(value)
        with m.Switch(self.word):
            for trits in itertools.product((-1, 0, 1), repeat=5):
                with m.Case(sum((t + 1) * 3**place for place, t in enumerate(trits))):
                    m.d.comb += value.eq(sum((t & 3) << 2 * place for place, t in enumerate(trits)))
        return m


def main() -> None:
    """Print a line for each code."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    blocks: dict[str, tuple[wiring.Component, int]] = {}
    for name in WEIGHT_CODES:
        design = replace(array_design(8, 128, 128), weight_code=name)
        blocks[name] = (Decoder(design), design.lanes)
    for name, (block, weights) in {**blocks, "1.6 by base 3": (BaseThree(), 5)}.items():
        text = rtlil.convert(block, name="decoder", emit_src=False)
        count = luts(ecp5_cells({"decoder.il": text}, "decoder"))
        print(f"{name:<15}{count / weights:6.1f} LUT4 per weight")


if __name__ == "__main__":
    main()
