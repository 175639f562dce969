"""Icarus Verilog under cocotb: the second simulator, independent and with unknown values."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from cocotb_tools.runner import Icarus

from mmfree.errors import ToolMissing
from sim.simulators.tools import link_sources, run_tools

ICARUS_ARGS = ("-g2012", "-Wno-timescale")
PROGRAM_NAME = "sim.vvp"
WAVEFORM_NAME = "dump.vcd"

_DUMP = f"""module mmfree_dump;
  initial begin
    $dumpfile("{WAVEFORM_NAME}");
    $dumpvars(0, {{toplevel}});
  end
endmodule
"""
"""A second top module, which writes the waveform of the first."""


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


def compile_for_icarus(sources: list[Path], toplevel: str, folder: Path, *, traced: bool) -> None:
    """Compile Verilog to ``folder``/obj/PROGRAM_NAME, as ``compile_for_verilator`` does.

    Raises
    ------
    SimulatorError
        If the design cannot be compiled.
    ToolMissing
        If Icarus is not installed.
    """
    names = link_sources(folder, sources)
    (folder / "time.f").write_text("+timescale+1ns/1ps\n")
    tops = ["-s", toplevel]
    if traced:
        (folder / "dump.v").write_text(_DUMP.format(toplevel=toplevel))
        names.append("../dump.v")
        tops += ["-s", "mmfree_dump"]
    program = str(find_icarus() / "iverilog")
    command = [program, "-o", PROGRAM_NAME, *tops, *ICARUS_ARGS, "-f", "../time.f", *names]
    # It names its temporary files in a shell.
    environment = dict(os.environ) | dict.fromkeys(("TMP", "TEMP", "TMPDIR"), ".")
    run_tools([command], folder, environment, of="Icarus", source=sources[0])


class IcarusRunner(Icarus):
    """cocotb's runner for Icarus, for a program that ``compile_for_icarus`` made."""

    def _simulator_in_path(self) -> None:
        self._folder = find_icarus()

    def _test_command(self) -> list[list[str]]:
        (command,) = super()._test_command()
        # Waveforms as VCD, not FST.
        words = ["-vcd" if word == "-fst" else word for word in command]
        return [[str(self._folder / word) if word == "vvp" else word for word in words]]
