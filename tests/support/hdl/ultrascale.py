"""Bodies in UltraScale+ cells, simulated and proven with this project's models of the cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from hdl.fabric.technology import Technology
from hdl.toolchain.emit import convert_verilog
from hdl.toolchain.yosys import run_yosys
from sim.simulators.runner import build, run
from tests.support.hdl.bench import Recording

CELL_MODELS = Path(__file__).parents[3] / "sim" / "simulators" / "ultrascale_cells.v"


def replay(recording: Recording, folder: Path) -> None:
    """Run a recording again, on Icarus and the UltraScale+ body of its block.

    Every bit of every output must be known and as recorded, in every cycle.
    """
    text = rtlil.convert(
        recording.block, name="block", platform=Technology.ULTRASCALE_PLUS, emit_src=False
    )
    (folder / "block.v").write_text(convert_verilog(text, []))
    steps = zip(recording.inputs, recording.outputs, strict=True)
    cycles = [{"inputs": inputs, "outputs": outputs} for inputs, outputs in steps]
    (folder / "cycles.json").write_text(json.dumps(cycles))
    model = build([folder / "block.v", CELL_MODELS], "block", simulator="icarus")
    run(model, "tests.support.sim.cocotb_block_memory", folder)


def prove_equal(block: Any, folder: Path, *, clocked: bool) -> None:
    """Prove for all inputs that the UltraScale+ body of a block equals its generic body.

    If it is ``clocked``, in every cycle from reset, by induction.
    """
    bodies = {"gold": Technology.GENERIC, "gate": Technology.ULTRASCALE_PLUS}
    texts = [
        rtlil.convert(block, name=name, platform=technology, emit_src=False)
        for name, technology in bodies.items()
    ]
    assert [r"cell \CARRY8 " in text for text in texts] == [False, True]
    (folder / "bodies.il").write_text("".join(texts))
    (folder / "cells.v").write_text(CELL_MODELS.read_text())
    commands = [
        "read_verilog -sv cells.v",
        "read_rtlil bodies.il",
        # With a top module, its hierarchy alone would be kept.
        "setattr -mod -unset top",
        "hierarchy",
        "proc",
        "flatten",
        "opt -full gold gate",
        "miter -equiv -flatten gold gate miter",
        "dffunmap miter",
        f"sat -verify -prove trigger 0 {'-tempinduct -seq 1' if clocked else ''} miter",
    ]
    run_yosys(commands, folder)
