# amaranth: UnusedElaboratable=no
"""LUTs and flip-flops of the ternary array per lane, on the ECP5 and the UltraScale+.

    python -m tools.measure.array_area --rows 16 --columns 32 --max-width 1024

A Yosys estimate, neither placed nor routed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from amaranth.back import rtlil

from hdl.array.ternary_array import TernaryArray
from hdl.fabric.technology import Technology
from hdl.toolchain.audit import ECP5_DSP_CELLS, ecp5_cells, luts
from hdl.toolchain.ultrascale_audit import ultrascale_area, ultrascale_cells
from mmfree.chip.design import Design

TOP = "array"


def array_design(rows: int, columns: int, max_width: int) -> Design:
    """A design with this array; the sizes of its memories do not matter to it."""
    return Design(
        rows=rows,
        columns=columns,
        max_width=max_width,
        post_width=1,
        max_rows=rows,
        weight_words=1,
        header_words=2,
        embedding_rows=1,
        embedding_width=columns,
        bias_words=1,
        state_words=1,
    )


def array_rtlil(design: Design, technology: Technology) -> str:
    """RTLIL of a design's array, top module TOP."""
    return str(rtlil.convert(TernaryArray(design), name=TOP, platform=technology, emit_src=False))


def ecp5_area(design: Design) -> dict[str, object]:
    """Cells of a design's array on the ECP5, and per lane."""
    cells = ecp5_cells({"array.il": array_rtlil(design, Technology.ECP5)}, TOP)
    area = {
        "lut4": cells.get("LUT4", 0),
        "ccu2c": cells.get("CCU2C", 0),
        "lut4_equivalents": luts(cells),
        "ram_cells": cells.get("TRELLIS_DPR16X4", 0),
        "flip_flops": cells.get("TRELLIS_FF", 0),
        "dsp": sum(cells.get(kind, 0) for kind in ECP5_DSP_CELLS),
    }
    return {**area, "per_lane": per_lane(area, design.lanes)}


def ultrascale_plus_area(design: Design) -> dict[str, object]:
    """Cells of a design's array on the UltraScale+, and per lane."""
    area = ultrascale_area(ultrascale_cells(array_rtlil(design, Technology.ULTRASCALE_PLUS), TOP))
    return {**area, "per_lane": per_lane(area, design.lanes)}


def per_lane(area: Mapping[str, int], lanes: int) -> dict[str, float]:
    """Each count, by lanes."""
    return {name: round(count / lanes, 3) for name, count in area.items()}


def main() -> None:
    """Print the counts as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=16, help="rows of lanes (default %(default)s)")
    parser.add_argument(
        "--columns", type=int, default=32, help="lanes of a row (default %(default)s)"
    )
    parser.add_argument(
        "--max-width",
        type=int,
        default=1024,
        help="elements of the widest vector (default %(default)s)",
    )
    options = parser.parse_args()
    design = array_design(options.rows, options.columns, options.max_width)
    result = {
        "label": "Yosys estimate",
        "rows": design.rows,
        "columns": design.columns,
        "lanes": design.lanes,
        "max_width": design.max_width,
        "accumulator_bits": design.accumulator_bits,
        "latency_cycles": TernaryArray(design).latency,
        "ecp5": ecp5_area(design),
        "ultrascale_plus": ultrascale_plus_area(design),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
