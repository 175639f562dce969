"""Inspection of a design's cells: none multiplies, and how many of each kind there are."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdl.toolchain.yosys import read_statistics, run_yosys, synthesis_commands

FORBIDDEN_CELLS = frozenset(
    {"$mul", "$div", "$mod", "$divfloor", "$modfloor", "$pow", "$macc", "$macc_v2", "$fma"}
)
"""RTLIL cells that multiply or divide."""

_HIDE_FIELDS = "rename -hide w:*[[]*"
"""Before blocks are mapped apart: Amaranth names the fields of a vector ``vector[0]``.

Yosys names the bits of a port so, and fails where a block has both.
"""

ECP5_DSP_CELLS = frozenset({"MULT18X18D", "MULT9X9D", "ALU54B", "ALU24B"})


def forbidden_cells(rtlil: str) -> list[str]:
    """Type and name of every multiplying or dividing cell in RTLIL text.

    Raises
    ------
    ValueError
        If a cell's line is not ``cell TYPE NAME``, or there is no cell: nothing may pass because it
        was not read.
    """
    lines = [line.split() for line in rtlil.splitlines() if line.lstrip().startswith("cell")]
    if not lines:
        raise ValueError("RTLIL: there is no cell to look at")
    for words in lines:
        if len(words) != 3 or words[0] != "cell":
            raise ValueError(f"RTLIL: a cell must be `cell TYPE NAME`, got `{' '.join(words)}`")
    return [f"{kind} {name}" for _, kind, name in lines if kind in FORBIDDEN_CELLS]


def ecp5_cells(files: dict[str, str], top: str) -> dict[str, int]:
    """Cells by type of the flattened ``top`` after ``synth_ecp5``, with DSP inference on.

    ``files``: name -> text; RTLIL (.il) and Verilog (.v) are read, others lie beside them. Verilog
    needs its memory files: without contents a memory is constant, and is optimized away.
    """
    return dict(_synthesize(files, f"synth_ecp5 -top {top}")["design"]["num_cells_by_type"])


def cells_by_block(
    rtlil_text: str,
    top: str,
    synthesis: str = "synth_ecp5 -noflatten",
    *,
    before: Sequence[str] = (),
) -> dict[str, dict[str, int]]:
    """Cells by type of every block in ``top``, each with all that it holds.

    "top": the cells of ``top`` itself.

    ``synthesis``: a ``synth_*`` command of Yosys that keeps the blocks. Blocks are synthesized
    apart, so together they take a few percent more than the flattened whole. ``before``: commands
    that Yosys runs before it.
    """
    files = {f"{top}.il": rtlil_text}
    before = (_HIDE_FIELDS, *before)
    modules = _synthesize(files, f"{synthesis} -top {top}", before)["modules"]
    modules = {name.removeprefix("\\"): module for name, module in modules.items()}

    def total(name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for kind, count in modules[name]["num_cells_by_type"].items():
            inner = (
                total(kind.removeprefix("\\")) if kind.removeprefix("\\") in modules else {kind: 1}
            )
            for cell, each in inner.items():
                found[cell] = found.get(cell, 0) + count * each
        return found

    own = modules[top]["num_cells_by_type"]
    blocks = [name.removeprefix("\\") for name in own if name.removeprefix("\\") in modules]
    found = {name.removeprefix(f"{top}.").partition("$")[0]: total(name) for name in blocks}
    return found | {
        "top": {
            kind: count for kind, count in own.items() if kind.removeprefix("\\") not in modules
        }
    }


def _synthesize(
    files: dict[str, str], synthesis: str, before: Sequence[str] = ()
) -> dict[str, Any]:
    """Yosys' statistics after a ``synth_*`` command."""
    readers = {".il": "read_rtlil", ".v": "read_verilog"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file_name, text in files.items():
            (folder / file_name).write_text(text, encoding="utf-8")
        reads = [
            f"{readers[suffix]} {file_name}"
            for file_name in files
            if (suffix := Path(file_name).suffix) in readers
        ]
        run_yosys([*reads, *before, *synthesis_commands(synthesis)], folder)
        return read_statistics(folder)


def luts(cells: dict[str, int]) -> int:
    """LUT4-equivalents: LUT4, and 2 for each carry cell CCU2C."""
    return cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0)


def ram_blocks(cells: dict[str, int]) -> int:
    """Block RAMs of the ECP5, of any width."""
    return cells.get("DP16KD", 0) + cells.get("PDPW16KD", 0)
