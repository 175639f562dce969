"""Activity of the synthesized netlist, cell by cell: what the activity of the RTL is calibrated by.

Zero-delay simulation of ECP5 cells: it sees every LUT, but no glitches either.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hdl.accelerator import Accelerator
from hdl.fabric.technology import Technology
from hdl.toolchain.emit import TOP, convert_rtlil
from hdl.toolchain.yosys import run_yosys, synthesis_commands
from mmfree.chip.design import Design
from mmfree.chip.folder import VERILOG_NAME
from mmfree.chip.layout import layout
from mmfree.tape.reading import AnyTape
from sim.cosim.chip import CELLS, write_chip
from sim.cosim.due import expect
from sim.cosim.run_folder import Sequence
from sim.power.activity import Activity, BlockActivity, count_toggles
from sim.power.coefficients import load_quantities

LOGIC_CELLS = CELLS.with_name("ecp5_logic_cells.v")
_NETLIST = "netlist.v"
_CELLS = "netlist.json"
_OUTPUTS = {"LUT4": ("Z",), "CCU2C": ("S0", "S1"), "TRELLIS_FF": ("Q",)}
"""Outputs that are counted; multiplexers after LUTs and distributed RAM are not."""


@dataclass(frozen=True, kw_only=True)
class NetlistBlock:
    """Outputs of a block's LUTs (two of a carry cell) and flip-flops, and their toggles."""

    luts: int = 0
    lut_toggles: int = 0
    flip_flops: int = 0
    flip_flop_toggles: int = 0


def netlist_activity(
    tape: AnyTape, design: Design, prompt: list[int]
) -> tuple[int, dict[str, NetlistBlock]]:
    """Cycles and counts by block of the accelerator, synthesized for the ECP5, on a prompt.

    Raises
    ------
    SimulationFailed
        If the netlist hangs, or chooses another token than the golden model.
    SimulatorError
        If it cannot be simulated.
    """
    with tempfile.TemporaryDirectory(prefix="mmfree-netlist-") as name:
        folder = Path(name)
        write_chip(folder, [tape], design, technology=Technology.ECP5)
        (folder / "design.il").write_text(
            convert_rtlil(Accelerator(design, layout(tape, design)), Technology.ECP5)
        )
        outputs = [f"write_json {_CELLS}", f"write_verilog -noattr -noexpr {_NETLIST}"]
        run_yosys(
            [
                "read_rtlil design.il",
                *synthesis_commands(f"synth_ecp5 -top {TOP}", outputs=outputs),
            ],
            folder,
        )
        texts = [path.read_text() for path in (folder / _NETLIST, CELLS, LOGIC_CELLS)]
        (folder / VERILOG_NAME).write_text("\n".join(texts))
        kinds = _kinds(json.loads((folder / _CELLS).read_text()))
        sequence = Sequence(prompt=prompt)
        due = expect([sequence], [tape])[0].rows.tolist()
        cycles, nets = count_toggles(folder, design, sequence, due)
    blocks: dict[str, NetlistBlock] = defaultdict(NetlistBlock)
    for net in nets:
        if len(net.scope) != 2 or net.name not in _OUTPUTS.get(
            kind := kinds.get(net.scope[1], ""), ()
        ):
            continue
        block = _block_of(net.scope[1])
        cell = blocks[block]
        if kind == "TRELLIS_FF":
            blocks[block] = replace(
                cell,
                flip_flops=cell.flip_flops + 1,
                flip_flop_toggles=cell.flip_flop_toggles + net.toggles,
            )
        else:
            blocks[block] = replace(
                cell, luts=cell.luts + 1, lut_toggles=cell.lut_toggles + net.toggles
            )
    return cycles, dict(sorted(blocks.items()))


def predicted_toggles(activity: Activity, blocks: dict[str, NetlistBlock]) -> float:
    """Toggles of a netlist's LUTs and flip-flops as an estimate predicts them.

    Those of the RTL's registers, and for each LUT as many as its block's registers have, times
    ``lut_rate``.
    """
    lut_rate = load_quantities("model", "model")["lut_rate"].value
    total = 0.0
    for name, block in blocks.items():
        rate = activity.blocks.get(name, BlockActivity()).toggle_rate(
            activity.cycles, activity.toggle_rate
        )
        total += rate * activity.cycles * (block.flip_flops + lut_rate * block.luts)
    return total


def _kinds(netlist: dict[str, Any]) -> dict[str, str]:
    """Cell -> kind, of Yosys' JSON."""
    return {name: cell["type"] for name, cell in netlist["modules"][TOP]["cells"].items()}


def _block_of(cell: str) -> str:
    """Block that a cell of the flattened netlist comes from, by its name."""
    return cell.partition(".")[0].partition("$")[0] if "." in cell else "top"
