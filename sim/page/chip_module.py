"""The RTL of a chip as a WebAssembly module: Verilator's C++ of it, and a clock.

module = chip_module(verilog)                    # of hdl.toolchain.emit
module.code, module.ports                        # bytes; its ports, in the order of its pins
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hdl.toolchain.emit import TOP
from sim.page.zig import build_module
from sim.simulators.tools import SimulatorError, run_tools
from sim.simulators.verilator import Port, find_ports, find_verilator

NATIVE = Path(__file__).parent / "native"

_ROOT = "Vchip___024root"

_OPTIONS = (
    *("--cc", "--prefix", "Vchip", "--top-module", TOP, "--Mdir", "."),
    *("-Wno-fatal", "-Wno-lint", "-O3", "--x-assign", "fast", "--noassert", "--output-split", "0"),
)

_USED = ("Vchip__ConstPool*.cpp", f"{_ROOT}*.cpp")
"""What is compiled of Verilator's C++: not the classes that a program would use."""

_EMPTY = ("Vchip__Syms.h", "Vchip.h", "verilated_dpi.h")
"""Headers of these classes, and of what reads a design from outside."""

_ARRAY = f"{TOP}.array"
"""The module whose operands a page shows."""

SHOWN = ("tiles__beat", "tiles__x", "w")
"""Its ports that are seen, besides those of the chip."""

_CLOCK = "clk__0"
"""Of Verilator's names for values that it compares: the clock's, which native/chip.cpp sets."""


@dataclass(frozen=True)
class ChipModule:
    """A module, and the ports in the order of its pins: those of the chip, then SHOWN."""

    code: bytes
    ports: tuple[Port, ...]


def chip_module(verilog: str) -> ChipModule:
    """Compile an accelerator's Verilog. Its memories begin with zeros: all are to be loaded.

    Raises
    ------
    SimulatorError
        If Verilator refuses the Verilog, or schedules it by more than its clock.
    ToolMissing
        If Verilator or zig is not installed.
    """
    ports, inside = find_ports(verilog, TOP), find_ports(verilog, f"\\{_ARRAY}")
    shown = [port for name in SHOWN for port in inside if port.name == name]
    members = [port.name for port in ports]
    members += [f"{TOP}__DOT__array__DOT__{port.name}" for port in shown]
    with tempfile.TemporaryDirectory(prefix="mmfree-page-") as name:
        folder = Path(name).resolve()
        source, made = folder / "chip.v", folder / "obj"
        source.write_text(re.sub(r"^.*\$readmemh.*\n", "", verilog, flags=re.M), encoding="utf-8")
        (folder / "shown.vlt").write_text(
            "`verilator_config\n"
            + "".join(f'public_flat_rd -module "{_ARRAY}" -var "{name}"\n' for name in SHOWN)
        )
        _verilate(source, folder)
        _check_clock(made)
        files = sorted(path.name for pattern in _USED for path in made.glob(pattern))
        for header in _EMPTY:
            (made / header).write_text("")
        includes = (f"{_ROOT}.h", *files, "chip.cpp")
        unit = made / "module.cpp"
        unit.write_text("".join(f'#include "{name}"\n' for name in includes))
        (made / "pins.h").write_text("".join(f"PIN({_member(name)})\n" for name in members))
        options = ("-std=c++17", "-fno-exceptions", f"-I{NATIVE}", "-I.")
        code = build_module([unit], folder, target="wasm32-freestanding", options=options)
    return ChipModule(code, (*ports, *shown))


def _member(name: str) -> str:
    """What Verilator calls a name of the design."""
    return name.replace("__", "___05F").replace("___05FDOT___05F", "__DOT__")


def _verilate(source: Path, folder: Path) -> None:
    program, root = find_verilator()
    environment = os.environ | ({} if root is None else {"VERILATOR_ROOT": str(root)})
    command = [str(program), *_OPTIONS, "../shown.vlt", f"../{source.name}"]
    run_tools([command], folder, environment, of="Verilator", source=source)


def _check_clock(made: Path) -> None:
    """Refuse C++ that waits for more than the clock's edge: native/chip.cpp gives it no other."""
    text = (made / f"{_ROOT}.h").read_text(encoding="utf-8")
    if (found := set(re.findall(r"__Vtrigprevexpr___TOP__(\w+)", text))) != {_CLOCK}:
        raise SimulatorError(f"the chip must wait for its clock alone, got {sorted(found)}")
