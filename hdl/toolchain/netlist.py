"""RTLIL of a component, as Amaranth writes it, but with initial values only where there are some.

Amaranth gives every memory initial values, zeros where nobody asked for any, and writes them bit by
bit: for the weights of a large model gigabytes of zeros, which nothing reads.
"""

from __future__ import annotations

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Value
from amaranth.hdl._ast import SignalDict
from amaranth.hdl._ir import PortDirection, build_netlist
from amaranth.hdl._nir import Memory
from amaranth.lib import wiring

from hdl.fabric.technology import Technology
from hdl.memory.block_memory import CONTENTS

_INITIAL = "cell $meminit_v2 "


class AmaranthFormatError(RuntimeError):
    """Amaranth's back end is not of the form that is used here."""

    def __init__(self, required: int, got: int) -> None:
        super().__init__(
            f"{required} memories must have initial values in RTLIL, got {got}: Amaranth's back end"
            " has changed; use the version of amaranth that pyproject.toml names, or adapt"
            " hdl/toolchain/netlist.py"
        )


class _ModuleEmitter(rtlil.ModuleEmitter):
    """Amaranth's, but for memories without initial values."""

    def emit_memory(self, cell_idx: int, cell: Memory) -> None:
        if _has_initial_values(cell):
            super().emit_memory(cell_idx, cell)
        else:
            # A name stays unused: Yosys orders processes by the names of later cells.
            self.builder._auto_name()


def _has_initial_values(cell: Memory) -> bool:
    """Whether a memory was given words; zeros alone are what Amaranth puts there itself."""
    return CONTENTS in cell.attributes or any(cell.init)


def component_rtlil(component: wiring.Component, name: str, technology: Technology) -> str:
    """RTLIL of a component for a technology, top module ``name``.

    A memory that begins with nothing but zeros has no initial values, unless it has the attribute
    CONTENTS: it is filled from a file, or written before it is read. All else is what Amaranth's
    ``rtlil.convert`` gives, line by line.

    Raises
    ------
    AmaranthFormatError
        If a memory has initial values that has none, or the other way round.
    """
    # What rtlil.convert and convert_fragment of Amaranth 0.5 do, with another emitter.
    ports = {}
    for path, member, value in component.signature.flatten(component):
        direction = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
        ports["__".join(map(str, path))] = (Value.cast(value), direction)
    netlist = build_netlist(Fragment.get(component, technology), ports=ports, name=name)
    empty, names = rtlil.EmptyModuleChecker(netlist), SignalDict()
    builder = rtlil.Design(emit_src=False)
    for number, module in enumerate(netlist.modules):
        if empty.is_empty(number):
            continue
        written = builder.module(".".join(module.name), src_loc=module.src_loc)
        if number == 0:
            written.attribute("top", 1)
        _ModuleEmitter(written, netlist, module, names, empty_checker=empty).emit()
    text = str(builder)
    given = sum(isinstance(cell, Memory) and _has_initial_values(cell) for cell in netlist.cells)
    if (got := text.count(_INITIAL)) != given:
        raise AmaranthFormatError(given, got)
    return text
