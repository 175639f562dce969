"""Cells of a design on the UltraScale+: a Yosys estimate, neither placed nor routed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from hdl.toolchain.yosys import read_cells, run_yosys, synthesis_commands

ULTRASCALE_DSP_CELLS = frozenset({"DSP48E2"})

LUT_CELLS = frozenset({"LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "LUT6_2", "INV"})
"""Logic cells, each of which takes a LUT."""

FLIP_FLOPS = frozenset({"FDCE", "FDPE", "FDRE", "FDSE"})

SHIFT_REGISTERS = frozenset({"SRL16E", "SRLC32E"})
"""Each takes a LUT."""

RAM_LUTS = {
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
    "RAM64X8SW": 8,
    "RAM32X16DR8": 8,
    "RAM64X1S": 1,
    "RAM64X1D": 2,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
    "RAM256X1D": 8,
    "RAM512X1S": 8,
}
"""LUTs of each kind of distributed RAM."""


def ultrascale_cells(rtlil: str, top: str) -> dict[str, int]:
    """Cells by type of the flattened ``top`` after ``synth_xilinx``, with DSP inference on."""
    synthesis = f"synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top {top}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil, encoding="utf-8")
        run_yosys(["read_rtlil design.il", *synthesis_commands(synthesis)], folder)
        return read_cells(folder)


def ultrascale_area(cells: Mapping[str, int]) -> dict[str, int]:
    """LUTs by use and in total, carry cells, flip-flops and DSP blocks, from cells by type.

    A LUT6_2, which has two outputs, is one LUT. Two small tables that a placer would join in one
    LUT count as two.
    """
    luts, shifts = _count(cells, LUT_CELLS), _count(cells, SHIFT_REGISTERS)
    rams = sum(size * cells.get(kind, 0) for kind, size in RAM_LUTS.items())
    return {
        "lut": luts,
        "shift_register_lut": shifts,
        "ram_lut": rams,
        "total_lut": luts + shifts + rams,
        "carry8": cells.get("CARRY8", 0),
        "flip_flops": _count(cells, FLIP_FLOPS),
        "dsp": _count(cells, ULTRASCALE_DSP_CELLS),
    }


def _count(cells: Mapping[str, int], kinds: Iterable[str]) -> int:
    return sum(cells.get(kind, 0) for kind in kinds)
