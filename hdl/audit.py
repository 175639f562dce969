"""Proof by inspection that a design holds no multiplier."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from hdl.yosys import run_yosys

FORBIDDEN_CELLS = frozenset(
    {"$mul", "$div", "$mod", "$divfloor", "$modfloor", "$pow", "$macc", "$macc_v2", "$fma"}
)
"""RTLIL cells that multiply or divide."""

ECP5_DSP_CELLS = frozenset({"MULT18X18D", "MULT9X9D", "ALU54B", "ALU24B"})


def forbidden_cells(rtlil: str) -> list[str]:
    """Type and name of every multiplying or dividing cell in RTLIL text."""
    cells = re.findall(r"^\s*cell (\S+) (\S+)$", rtlil, flags=re.MULTILINE)
    return [f"{kind} {name}" for kind, name in cells if kind in FORBIDDEN_CELLS]


def ecp5_cells(rtlil: str, top: str) -> dict[str, int]:
    """Cells by type after synthesis for the ECP5 (``synth_ecp5``, DSP inference left on), of the flattened ``top``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil)
        commands = ["read_rtlil design.il", f"synth_ecp5 -top {top}", "tee -q -o cells.json stat -json"]
        run_yosys(commands, folder)
        statistics = json.loads((folder / "cells.json").read_text())
    return dict(statistics["design"]["num_cells_by_type"])


def luts(cells: dict[str, int]) -> int:
    """LUT4-equivalents: LUT4, and 2 for each carry cell CCU2C."""
    return cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0)
