"""Icarus Verilog under cocotb: the second simulator, independent and with unknown values."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from cocotb_tools.runner import Icarus

from mmfree.errors import ToolMissing

ICARUS_ARGS = ("-g2012", "-Wno-timescale")
WAVEFORM_NAME = "dump.vcd"


def find_icarus() -> Path:
    """The folder of iverilog and vvp: the one of this Python, or one on PATH.

    Raises
    ------
    ToolMissing
        If it is not installed.
    """
    beside = Path(sys.prefix) / "bin"
    if (beside / "iverilog").is_file():
        return beside
    if (system := shutil.which("iverilog")) is not None:
        return Path(system).parent
    raise ToolMissing(
        "Icarus Verilog was not found: install it with your system's packages (iverilog), or run"
        " `make icarus`"
    )


class IcarusRunner(Icarus):
    """cocotb's runner for Icarus, with VCD waveforms; wherever Icarus is installed."""

    def _simulator_in_path(self) -> None:
        self._folder = find_icarus()

    def _build_command(self) -> list[list[str]]:
        return [self._found(command) for command in super()._build_command()]

    def _test_command(self) -> list[list[str]]:
        (command,) = super()._test_command()
        named = [f"+dumpfile_path={WAVEFORM_NAME}"] if self.waves else []
        return [self._found(["-vcd" if word == "-fst" else word for word in command] + named)]

    def _found(self, command: list[str]) -> list[str]:
        """The program with its folder."""
        return [
            str(self._folder / word) if word in ("iverilog", "vvp") else word for word in command
        ]
