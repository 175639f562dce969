"""Cells of an accelerator on the ECP5, whole, per lane, and by block.

    python -m tools.measure.synthesis runs/addition/model.tape --lanes 64 [--by-block]

A Yosys estimate, neither placed nor routed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from amaranth.back import rtlil

from hdl.accelerator import Accelerator
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import ECP5_DSP_CELLS, cells_by_block, ecp5_cells, luts, ram_blocks
from hdl.toolchain.emit import TOP
from mmfree.chip.sizing import design_for
from mmfree.chip.weight_codes import WEIGHT_CODES
from mmfree.tape.reading import open_tape


def describe(cells: dict[str, int], lanes: int) -> dict[str, float]:
    """The counts that matter, and LUTs and flip-flops per lane."""
    flip_flops = cells.get("TRELLIS_FF", 0)
    return {
        "lut4_equivalents": luts(cells),
        "flip_flops": flip_flops,
        "distributed_ram_cells": cells.get("TRELLIS_DPR16X4", 0),
        "memory_blocks": ram_blocks(cells),
        "dsp": sum(cells.get(kind, 0) for kind in ECP5_DSP_CELLS),
        "lut4_equivalents_per_lane": round(luts(cells) / lanes, 2),
        "flip_flops_per_lane": round(flip_flops / lanes, 2),
    }


def main() -> None:
    """Print the counts as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tape", type=Path)
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument(
        "--bits", choices=tuple(WEIGHT_CODES), default="2", help="storage of a weight"
    )
    parser.add_argument(
        "--by-block", action="store_true", help="also each block, synthesized apart"
    )
    options = parser.parse_args()
    design = design_for(open_tape(options.tape), options.lanes, options.bits)
    text = rtlil.convert(Accelerator(design), name=TOP, emit_src=False, platform=Technology.ECP5)
    result: dict[str, object] = {**describe(ecp5_cells({f"{TOP}.il": text}, TOP), design.lanes)}
    if options.by_block:
        blocks = cells_by_block(text, TOP)
        result["blocks"] = {
            name: describe(cells, design.lanes) for name, cells in sorted(blocks.items())
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
